//! The codes that the program ends with, after BSD's `sysexits.h`. The service unit restarts on all but 0, 64, 77 and 78,
//! which need a person.

use std::process::ExitCode;

use super::explain::ExplainError;
use super::init::InitError;
use super::status::AskError;
use super::support_bundle::BundleError;
use crate::app::AppError;
use crate::control::ControlError;
use crate::scale::ScaleError;
use crate::state::StateError;
use crate::status::Level;
use crate::store::StoreError;
use crate::web::WebError;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to, or was asked to stop.
    Ok = 0,
    /// Only of `status`: a person should look.
    Warning = 1,
    /// Only of `status`: Mimecast deletes what is not fetched within a day, or has begun to.
    Critical = 2,
    /// Only of `status`: no collector is running, or it does not answer.
    Unknown = 3,
    /// The command line is wrong.
    Usage = 64,
    /// No collector is running, or it does not answer; only of the commands that ask one.
    Unavailable = 69,
    /// A bug: a task panicked.
    Bug = 70,
    /// The store failed, or a file: the disk, or the database on it.
    Store = 74,
    /// A file or socket may not be used by this user.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&AppError> for Exit {
    fn from(error: &AppError) -> Self {
        match error {
            AppError::Config(_)
            | AppError::Prepare(_)
            | AppError::StateDirChanged(_)
            | AppError::ClusterChanged
            | AppError::Etcd(_) => Self::Config,
            AppError::Store(StoreError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            AppError::Store(_) => Self::Store,
            AppError::Control(error) => error.into(),
            AppError::Web(error) => error.into(),
        }
    }
}

impl From<&WebError> for Exit {
    fn from(error: &WebError) -> Self {
        match error {
            WebError::Listen { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            WebError::Listen { .. }
            | WebError::Secret(_)
            | WebError::File { .. }
            | WebError::Tls(_) => Self::Config,
        }
    }
}

/// By the convention of Nagios and what came after it.
impl From<Level> for Exit {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Ok,
            Level::Attention => Self::Warning,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<&ScaleError> for Exit {
    fn from(error: &ScaleError) -> Self {
        match error {
            ScaleError::NotLoopback(_) => Self::Config,
            ScaleError::Anchor { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            ScaleError::Anchor { .. } => Self::Store,
        }
    }
}

impl From<&AskError> for Exit {
    fn from(error: &AskError) -> Self {
        match error {
            AskError::Control(error) => error.into(),
            AskError::Report(_) => Self::Unavailable,
            AskError::NotKept(_) => Self::Usage,
            AskError::Copy { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            AskError::Copy { .. } | AskError::Write(_) => Self::Store,
        }
    }
}

impl From<&ExplainError> for Exit {
    fn from(error: &ExplainError) -> Self {
        match error {
            ExplainError::Unknown { .. } => Self::Usage,
            ExplainError::Write(_) => Self::Store,
        }
    }
}

impl From<&InitError> for Exit {
    fn from(error: &InitError) -> Self {
        match error {
            InitError::There { .. } | InitError::NoFolder { .. } => Self::Usage,
            InitError::File { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            InitError::File { .. } | InitError::Write(_) => Self::Store,
        }
    }
}

impl From<&StateError> for Exit {
    fn from(error: &StateError) -> Self {
        let denied = std::io::ErrorKind::PermissionDenied;
        match error {
            StateError::Owner { .. } => Self::Permission,
            StateError::File { source, .. } | StateError::Store(StoreError::Io { source, .. })
                if source.kind() == denied =>
            {
                Self::Permission
            }
            StateError::Document { .. } | StateError::Refused(_) => Self::Usage,
            StateError::Missing(_)
            | StateError::Running(_)
            | StateError::Store(_)
            | StateError::File { .. }
            | StateError::Write(_) => Self::Store,
        }
    }
}

impl From<&BundleError> for Exit {
    fn from(error: &BundleError) -> Self {
        match error {
            BundleError::There(_) => Self::Usage,
            BundleError::File { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Permission
            }
            BundleError::File { .. } | BundleError::Write(_) => Self::Store,
        }
    }
}

impl From<&ControlError> for Exit {
    fn from(error: &ControlError) -> Self {
        match error {
            ControlError::Bind { source, .. }
                if source.kind() != std::io::ErrorKind::PermissionDenied =>
            {
                Self::Store
            }
            ControlError::Bind { .. } | ControlError::Denied { .. } => Self::Permission,
            ControlError::NotRunning { .. }
            | ControlError::Broken { .. }
            | ControlError::Answer { .. } => Self::Unavailable,
            // Only a name that the collector does not know.
            ControlError::Refused(_) => Self::Usage,
        }
    }
}

//! What goes to an output: a question about a lane, and for the collector's own events about each event.

use std::collections::BTreeSet;

use super::{IntegrationId, LaneId, OutputId};

/// Which lanes an output takes. Pure, so that the store, the workers and the configuration's check agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The output.
    pub output: OutputId,
    /// The integrations it is for; `None` for all.
    pub integrations: Option<BTreeSet<IntegrationId>>,
    /// The log types it is for; `None` for all.
    pub logs: Option<BTreeSet<String>>,
    /// The kinds of events it carries.
    pub carry: Carry,
    /// Where it begins in a lane that was there before it.
    pub from: From,
}

/// The kinds of events that an output carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// What integrations fetched.
    pub events: bool,
    /// The collector's alerts.
    pub alerts: bool,
    /// The collector's heartbeats.
    pub heartbeats: bool,
}

/// Where an output begins in a lane that was there before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// Behind the last event.
    #[default]
    Newest,
    /// At the oldest event that is still on disk.
    Oldest,
}

impl Carry {
    /// Everything.
    pub const ALL: Self = Self {
        events: true,
        alerts: true,
        heartbeats: true,
    };

    /// What people and their tools want to be told.
    pub const ALERTS: Self = Self {
        events: false,
        alerts: true,
        heartbeats: false,
    };
}

impl Route {
    /// The way of everything to an output.
    #[must_use]
    pub const fn all(output: OutputId) -> Self {
        Self {
            output,
            integrations: None,
            logs: None,
            carry: Carry::ALL,
            from: From::Newest,
        }
    }

    /// Whether the lane goes to the output. A lane of events that are sent again is for the output that it names.
    #[must_use]
    pub fn takes(&self, lane: &LaneId) -> bool {
        if let Some(output) = lane.again_for() {
            return output == self.output.as_str();
        }
        match lane.source() {
            Some(stream) => {
                self.carry.events
                    && self.is_for(&stream.integration)
                    && (self.logs.as_ref()).is_none_or(|logs| logs.contains(&*stream.log))
            }
            None => self.carry.alerts || self.carry.heartbeats,
        }
    }

    /// Whether the output is for an integration.
    #[must_use]
    pub fn is_for(&self, integration: &IntegrationId) -> bool {
        let chosen = self.integrations.as_ref();
        chosen.is_none_or(|chosen| chosen.contains(integration))
    }
}

impl std::convert::From<OutputId> for Route {
    fn from(output: OutputId) -> Self {
        Self::all(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route::all(OutputId::new("splunk").unwrap())
    }

    fn takes(route: &Route) -> Vec<&'static str> {
        let lanes = [
            "acme/audit",
            "acme/siem-cg/av",
            "beta/audit",
            "@collector",
            "@again/splunk/beta/audit",
            "@again/other/acme/audit",
        ];
        let taken = lanes.into_iter();
        taken
            .filter(|lane| route.takes(&LaneId::from_text(lane)))
            .collect()
    }

    #[test]
    fn a_route_is_a_question_about_a_lane() {
        let (sent_again, all) = ("@again/splunk/beta/audit", route());
        assert_eq!(
            takes(&all),
            [
                "acme/audit",
                "acme/siem-cg/av",
                "beta/audit",
                "@collector",
                sent_again
            ]
        );
        let acme = IntegrationId::new("acme").unwrap();
        let tenant = Route {
            integrations: Some(BTreeSet::from([acme])),
            logs: Some(BTreeSet::from(["audit".to_owned()])),
            ..route()
        };
        assert_eq!(takes(&tenant), ["acme/audit", "@collector", sent_again]);
        let (events, alerts) = (
            Carry {
                alerts: false,
                heartbeats: false,
                ..Carry::ALL
            },
            Carry {
                events: false,
                heartbeats: false,
                ..Carry::ALL
            },
        );
        let carrying = |carry| Route { carry, ..route() };
        assert_eq!(takes(&carrying(alerts)), ["@collector", sent_again]);
        assert!(!takes(&carrying(events)).contains(&"@collector"));
    }
}

//! What events are shown under where the configuration says nothing: by our own names, or by those of the vendor's app for Splunk.

use super::label::Origin;

/// Whose names are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Ours: the log type, and the record's type for the mail logs.
    Collector,
    /// Those of the vendor's app, and its members `mcType` and `splunkAccountCode` in each event.
    Vendor,
}

/// The log types of mail flow, whose records are of several types.
const MAIL: [&str; 3] = ["siem", "siem-cg", "siem-ci"];

/// `mcType` of the mail logs, by the types of their records.
const MAIL_TYPES: &[(&[&str], &str)] = &[
    (&["receipt"], "email_receipt"),
    (&["process"], "email_process"),
    (&["delivery"], "email_delivery"),
    (&["journal", "jrnl"], "email_journal"),
    (&["spam"], "email_spam"),
    (&["av"], "email_antivirus"),
    (&["internal email protect", "iep"], "email_iep"),
    (&["url protect", "ttp_url"], "email_ttp_url"),
    (&["attachment protect", "ttp_ap"], "email_ttp_ap"),
    (
        &["impersonation protect", "impersonation"],
        "email_ttp_impersonation",
    ),
];

/// `mcType`, if the vendor has one, and the sourcetype of the other log types that the vendor's app has.
const LOGS: &[(&str, Option<&str>, &str)] = &[
    ("audit", Some("auditLog"), "mimecast:audit"),
    ("ttp-url", Some("ttp_url"), "mimecast:ttp:url"),
    ("ttp-attachment", Some("ttp_ap"), "mimecast:ttp:ap"),
    (
        "ttp-impersonation",
        Some("ttp_ip"),
        "mimecast:ttp:impersonation",
    ),
    ("dlp", None, "mimecast:dlp"),
];

impl Preset {
    /// The sourcetype of an event: `mimecast:siem:receipt`, `mimecast:audit`, `mimecast:collector:alert`.
    ///
    /// Ours are those that Splunk's published add-ons for Mimecast use; all mail logs of the gateway share one family.
    pub(super) fn sourcetype(self, log: &str, kind: &str) -> String {
        let vendors = match self {
            Self::Collector => None,
            Self::Vendor if MAIL.contains(&log) => Some(match kind {
                "receipt" => "mimecast:siem:receipt",
                "process" => "mimecast:siem:process",
                "av" => "mimecast:siem:av",
                _ => "mimecast:siem",
            }),
            Self::Vendor => LOGS.iter().find(|row| row.0 == log).map(|row| row.2),
        };
        if let Some(vendors) = vendors {
            return vendors.to_owned();
        }
        let kind = || kind.chars().map(plain).collect::<String>();
        match log {
            "siem" | "siem-cg" => format!("mimecast:siem:{}", kind()),
            "collector" => format!("mimecast:collector:{}", kind()),
            other => format!("mimecast:{}", other.chars().map(plain).collect::<String>()),
        }
    }

    /// The vendor's word for what the event is.
    fn mc_type(self, log: &str, kind: &str) -> Option<&'static str> {
        match self {
            Self::Collector => None,
            Self::Vendor if MAIL.contains(&log) => MAIL_TYPES
                .iter()
                .find(|(kinds, _)| kinds.contains(&kind))
                .map(|(_, mc_type)| *mc_type),
            Self::Vendor => LOGS.iter().find(|row| row.0 == log)?.1,
        }
    }
}

impl Preset {
    /// What is added to each event.
    pub(super) fn members<'a>(self, origin: &Origin<'a>) -> Vec<(&'static str, &'a str)> {
        let account = match self {
            Self::Collector => None,
            Self::Vendor => origin.tenant.and_then(|tenant| tenant.account.as_deref()),
        };
        let members = [
            ("mcType", self.mc_type(origin.log, origin.kind)),
            ("splunkAccountCode", account),
        ];
        let known = members.into_iter();
        known
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The character as a sourcetype may hold it without quotes: others become `_`.
pub(super) fn plain(c: char) -> char {
    match c {
        c if c.is_ascii_alphanumeric() => c,
        '-' | '_' | '.' => c,
        _ => '_',
    }
}

/// The character as the name of an index may hold it: others become `_`.
pub(super) fn index(c: char) -> char {
    match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        '-' => '-',
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_names_are_those_that_its_app_looks_for() {
        let of = |log: &str, kind: &str| {
            let vendor = Preset::Vendor;
            let mc_type = vendor.mc_type(log, kind).unwrap_or("-");
            format!("{log} {kind}: {} {mc_type}", vendor.sourcetype(log, kind))
        };
        let shown = [
            of("siem-cg", "receipt"),
            of("siem-cg", "internal email protect"),
            of("siem-cg", "av"),
            of("siem", "jrnl"),
            of("siem", "ttp_ap"),
            of("siem-cg", "new kind"),
            of("ttp-impersonation", "ttp-impersonation"),
            of("audit", "User Logged On"),
            of("dlp", "dlp"),
            of("rejections", "rejections"),
            of("collector", "alert"),
        ];
        insta::assert_snapshot!(shown.join("\n"), @r"
        siem-cg receipt: mimecast:siem:receipt email_receipt
        siem-cg internal email protect: mimecast:siem email_iep
        siem-cg av: mimecast:siem:av email_antivirus
        siem jrnl: mimecast:siem email_journal
        siem ttp_ap: mimecast:siem email_ttp_ap
        siem-cg new kind: mimecast:siem -
        ttp-impersonation ttp-impersonation: mimecast:ttp:impersonation ttp_ip
        audit User Logged On: mimecast:audit auditLog
        dlp dlp: mimecast:dlp -
        rejections rejections: mimecast:rejections -
        collector alert: mimecast:collector:alert -
        ");
    }

    #[test]
    fn a_value_becomes_what_an_index_may_be_called() {
        let shown: String = "Acme UK/é-1".chars().map(index).collect();
        assert_eq!(shown, "acme_uk__-1");
    }
}

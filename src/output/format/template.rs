//! A text of the configuration with places for fields: `{time} {integration} {senderEnvelope} -> {recipients}`.
//!
//! The collector's own names are in [`Own`]; any other is the name of one of the event's fields, and is empty if the event has none. `{{`
//! and `}}` stand for braces.

use super::{Cut, Event, escape};

/// A template that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Own(Own),
    Field(String),
}

/// What the collector knows of every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Integration,
    Log,
    Type,
    EventId,
    Time,
    Severity,
    Signature,
    Category,
    Event,
}

const NAMES: &[(&str, Own)] = &[
    ("integration", Own::Integration),
    ("log", Own::Log),
    ("type", Own::Type),
    ("event_id", Own::EventId),
    ("time", Own::Time),
    ("severity", Own::Severity),
    ("signature", Own::Signature),
    ("category", Own::Category),
    ("event", Own::Event),
];

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    // What take_while ate was the brace, or the text's end.
                    if !text.contains(&format!("{{{name}}}")) {
                        return Err(format!(
                            "has a \"{{\" without its \"}}\" before {name:?}; write {{{{ for a brace"
                        ));
                    }
                    if name.is_empty() || !name.chars().all(is_part_of_name) {
                        return Err(format!(
                            "has no field's name in {{{}}}; expected letters, digits, \"_\", \"-\" and \".\", such as {{senderEnvelope}} or {{time}}",
                            name.escape_debug()
                        ));
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    let own = NAMES.iter().find(|(own, _)| *own == name);
                    parts.push(own.map_or(Part::Field(name), |(_, own)| Part::Own(*own)));
                }
                '}' => return Err("has a \"}\" without its \"{\"; write }} for a brace".to_owned()),
                c if escape::is_unsafe(c) && c != '\t' => {
                    return Err(
                        "has a line break or another control character; an event is one line"
                            .to_owned(),
                    );
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err("has no place for a field, so all events would be alike; write such as {time} or {event}".to_owned());
        }
        Ok(Self(parts))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Own(own) => own.write(out, event, cut),
                Part::Field(name) => {
                    if let Some(field) = cut.fields(event).find(|field| field.name == **name) {
                        escape::write_plain(out, cut.value(field));
                    }
                }
            }
        }
        if !cut.is_none() {
            out.extend_from_slice(b" truncated=true");
        }
    }
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

impl Own {
    fn write(self, out: &mut Vec<u8>, event: &Event<'_>, cut: Cut) {
        let record = event.record;
        match self {
            Self::Integration => escape::write_plain(out, event.integration),
            Self::Log => escape::write_plain(out, event.log),
            Self::Type => escape::write_plain(out, &record.kind),
            Self::EventId => out.extend_from_slice(record.id.to_string().as_bytes()),
            Self::Time => out.extend_from_slice(record.time.to_string().as_bytes()),
            Self::Severity => out.extend_from_slice(event.severity().to_string().as_bytes()),
            Self::Signature => out.extend_from_slice(event.signature.id.as_bytes()),
            Self::Category => out.extend_from_slice(event.signature.category.as_bytes()),
            Self::Event => super::json::write_line(out, event, cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_template_is_explained() {
        let told = |text: &str| Template::parse(text).unwrap_err();
        insta::assert_snapshot!(
            [
                told("{time} {sender"),
                told("{time} sender}"),
                told("{a b}"),
                told("{}"),
                told("{time}\n{event}"),
                told("constant {{text}}"),
            ]
            .join("\n"),
            @r#"
        has a "{" without its "}" before "sender"; write {{ for a brace
        has a "}" without its "{"; write }} for a brace
        has no field's name in {a b}; expected letters, digits, "_", "-" and ".", such as {senderEnvelope} or {time}
        has no field's name in {}; expected letters, digits, "_", "-" and ".", such as {senderEnvelope} or {time}
        has a line break or another control character; an event is one line
        has no place for a field, so all events would be alike; write such as {time} or {event}
        "#
        );
    }
}

//! The JSON of a message, as the configuration writes it, with places for what it tells.
//!
//! ```json
//! {"text": "{title}", "alerts": ["{each}", {"name": "{subject}", "level": "{severity: high=critical, *=warning}"}]}
//! ```
//! It is read as JSON first, and places are looked for in its strings, so that no value can break out of the string it stands in: there
//! is no text to be escaped in. A list that begins with `"{each}"` has its second element once for each alert. A string that is one
//! place and nothing else becomes what the alert has there, be it a number, a list or an object, and is left out with its name if the alert
//! has nothing; within a longer string it is text.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::output::told::{NAMES, OF_ALL, Told, of_all};
use crate::secret::Secret;
use crate::settings::did_you_mean;

/// A template that was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Node);

/// It may hold a secret that somebody wrote where none belongs.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[template]")
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Node {
    Fixed(Value),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Each(Box<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    Place(Place),
}

#[derive(Clone, PartialEq, Eq)]
struct Place {
    source: Source,
    shape: Shape,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    Alert(String),
    All(String),
    Secret(String),
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq)]
enum Shape {
    Plain,
    /// `&`, `<` and `>` as entities, as Slack wants them.
    Entities,
    /// One text for another; `*` for all others.
    Cases(Vec<(String, String)>),
}

/// What a template may name, for messages.
#[derive(Clone, Copy)]
struct Rules<'a> {
    secrets: &'a [&'a str],
    /// Whether it is clear which alert a place means.
    in_one: bool,
}

impl Template {
    /// What a receiver of our own making would want: the text for people, the alerts for programs.
    #[must_use]
    pub fn plain() -> Self {
        let place = |name: &str| {
            Node::Text(vec![Piece::Place(Place {
                source: Source::All(name.to_owned()),
                shape: Shape::Plain,
            })])
        };
        let members = [("alerts", "objects"), ("count", "count"), ("text", "text")];
        let members = members.map(|(key, name)| (key.to_owned(), place(name)));
        Self(Node::Object(members.into()))
    }

    /// Reads a template that may name these secrets; `is_single` if a message never tells more than one alert.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it; it is not quoted but for the names of places.
    pub fn parse(text: &str, secrets: &[&str], is_single: bool) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| {
            format!(
                "is not JSON, at its line {}, column {}: places stand in strings, such as {{\"text\": \"{{text}}\"}}",
                e.line(),
                e.column()
            )
        })?;
        let rules = Rules {
            secrets,
            in_one: is_single,
        };
        let node = node(&json, rules)?;
        if !node.has_place() {
            return Err(
                "has no place, so all messages would be alike; write such as {text}".to_owned(),
            );
        }
        Ok(Self(node))
    }

    /// The message that tells all of these.
    pub(super) fn render(&self, all: &[Told], secrets: &BTreeMap<String, Secret>) -> Vec<u8> {
        let whole = Whole { all, secrets };
        let only = match all {
            [one] => Some(one),
            _ => None,
        };
        let message = self.0.render(&whole, only).unwrap_or_default();
        message.to_string().into_bytes()
    }
}

fn node(json: &Value, rules: Rules<'_>) -> Result<Node, String> {
    match json {
        Value::String(text) => {
            let pieces = pieces(text, rules)?;
            Ok(match pieces.as_slice() {
                [] => Node::Fixed(Value::String(String::new())),
                [Piece::Fixed(text)] => Node::Fixed(Value::String(text.clone())),
                _ => Node::Text(pieces),
            })
        }
        Value::Array(elements) => match elements.as_slice() {
            [Value::String(first), rest @ ..] if first == "{each}" => {
                let [element] = rest else {
                    return Err("has a list that begins with \"{each}\" and has not just one element behind it".to_owned());
                };
                let rules = Rules {
                    in_one: true,
                    ..rules
                };
                let element = node(element, rules)?;
                if element.repeats() {
                    return Err("has \"{each}\" within \"{each}\"".to_owned());
                }
                Ok(Node::Each(Box::new(element)))
            }
            elements => {
                let elements = elements.iter().map(|element| node(element, rules));
                Ok(Node::List(elements.collect::<Result<_, _>>()?))
            }
        },
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| Ok((key.clone(), node(value, rules)?)));
            Ok(Node::Object(members.collect::<Result<_, String>>()?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Node::Fixed(json.clone())),
    }
}

fn pieces(text: &str, rules: Rules<'_>) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut fixed) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        fixed.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            fixed.push('{');
            rest = after;
            continue;
        }
        if let Some(after) = from.strip_prefix("}}") {
            fixed.push('}');
            rest = after;
            continue;
        }
        let Some((inner, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}'))
        else {
            return Err("has a brace without its other one; write {{ or }} for a brace".to_owned());
        };
        if !fixed.is_empty() {
            pieces.push(Piece::Fixed(std::mem::take(&mut fixed)));
        }
        pieces.push(Piece::Place(place(inner, rules)?));
        rest = after;
    }
    fixed.push_str(rest);
    if !fixed.is_empty() {
        pieces.push(Piece::Fixed(fixed));
    }
    Ok(pieces)
}

fn place(text: &str, rules: Rules<'_>) -> Result<Place, String> {
    let (name, shape) = match (text.split_once(':'), text.split_once('|')) {
        (Some((name, cases)), _) => (name, Shape::Cases(self::cases(cases)?)),
        (None, Some((name, "entities"))) => (name, Shape::Entities),
        (None, Some((_, other))) => {
            return Err(format!(
                "has an unknown way to write a value, {:?}; there is \"entities\"",
                printable(other)
            ));
        }
        (None, None) => (text, Shape::Plain),
    };
    let name = name.trim();
    let source = if let Some(secret) = name.strip_prefix("secret.") {
        if !rules.secrets.contains(&secret) {
            return Err(format!(
                "names the secret {:?}, which is not in secrets",
                printable(secret)
            ));
        }
        Source::Secret(secret.to_owned())
    } else if OF_ALL.contains(&name) {
        Source::All(name.to_owned())
    } else if NAMES.contains(&name)
        || name
            .strip_prefix("tags.")
            .is_some_and(|tag| !tag.is_empty())
    {
        if !rules.in_one {
            return Err(format!(
                "has {{{name}}}, which is of one alert, where all are told: put it into a list that begins with \"{{each}}\", or set max_alerts = 1"
            ));
        }
        Source::Alert(name.to_owned())
    } else {
        let known = NAMES.iter().chain(OF_ALL).copied();
        return Err(format!(
            "has {{{}}}, which no alert has{}; docs/alerts.md lists what there is, and a brace is written {{{{",
            printable(name),
            did_you_mean(name, known)
        ));
    };
    Ok(Place { source, shape })
}

fn cases(text: &str) -> Result<Vec<(String, String)>, String> {
    let cases = text.split(',').map(|case| {
        let (from, to) = case.split_once('=').ok_or_else(|| {
            "has a place with cases that are not written {alert: cleared=resolve, *=trigger}"
                .to_owned()
        })?;
        Ok((from.trim().to_owned(), to.trim().to_owned()))
    });
    cases.collect()
}

/// A name for a message: short, and nothing that could forge a line.
fn printable(text: &str) -> String {
    text.chars().take(32).flat_map(char::escape_debug).collect()
}

/// All that a message tells.
struct Whole<'a> {
    all: &'a [Told],
    secrets: &'a BTreeMap<String, Secret>,
}

impl Node {
    fn has_place(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(_) | Self::Each(_) => true,
            Self::List(elements) => elements.iter().any(Self::has_place),
            Self::Object(members) => members.iter().any(|(_, node)| node.has_place()),
        }
    }

    fn repeats(&self) -> bool {
        match self {
            Self::Fixed(_) | Self::Text(_) => false,
            Self::Each(_) => true,
            Self::List(elements) => elements.iter().any(Self::repeats),
            Self::Object(members) => members.iter().any(|(_, node)| node.repeats()),
        }
    }

    /// What stands here; `None` if it is to be left out.
    fn render(&self, whole: &Whole<'_>, one: Option<&Told>) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Text(pieces) => match pieces.as_slice() {
                [Piece::Place(place)] => place.value(whole, one),
                pieces => {
                    let mut text = String::new();
                    for piece in pieces {
                        match piece {
                            Piece::Fixed(fixed) => text.push_str(fixed),
                            Piece::Place(place) => text.push_str(&shown(place.value(whole, one))),
                        }
                    }
                    Some(Value::String(text))
                }
            },
            Self::List(elements) => Some(
                elements
                    .iter()
                    .filter_map(|node| node.render(whole, one))
                    .collect(),
            ),
            Self::Each(element) => Some(
                whole
                    .all
                    .iter()
                    .filter_map(|one| element.render(whole, Some(one)))
                    .collect(),
            ),
            Self::Object(members) => {
                let members = members
                    .iter()
                    .filter_map(|(key, node)| Some((key.clone(), node.render(whole, one)?)));
                Some(Value::Object(Map::from_iter(members)))
            }
        }
    }
}

impl Place {
    fn value(&self, whole: &Whole<'_>, one: Option<&Told>) -> Option<Value> {
        let value = match &self.source {
            Source::Alert(name) => one?.get(name),
            Source::All(name) => of_all(whole.all, name),
            Source::Secret(name) => {
                let secret = whole.secrets.get(name)?;
                Some(Value::String(secret.expose().to_owned()))
            }
        };
        match &self.shape {
            Shape::Plain => value,
            Shape::Entities => {
                let text = shown(Some(value?));
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                Some(Value::String(text.replace('>', "&gt;")))
            }
            Shape::Cases(cases) => {
                let text = shown(value);
                let case = cases.iter().find(|(from, _)| *from == text || from == "*");
                case.map(|(_, to)| Value::String(to.clone()))
            }
        }
    }
}

/// A value within a text.
fn shown(value: Option<Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::told::fixture::alert;
    use super::*;

    fn told(words: &[&str]) -> Vec<Told> {
        let named = words.iter().enumerate();
        named
            .map(|(i, word)| Told::of(&alert(word, &format!("stream s{i}"))))
            .collect()
    }

    fn rendered(template: &str, words: &[&str]) -> String {
        let secrets = BTreeMap::from([("key".to_owned(), Secret::new("k\"ey".to_owned()))]);
        let template = Template::parse(template, &["key"], words.len() == 1).unwrap();
        String::from_utf8(template.render(&told(words), &secrets)).unwrap()
    }

    #[test]
    fn a_list_has_its_element_for_each_alert_and_a_text_the_count() {
        let template = r#"{"t":"{count}: {worst}","n":"{count}","l":["{each}",{"s":"{subject}","a":"{alert: cleared=resolve, *=trigger}","b":true}]}"#;
        assert_eq!(
            rendered(template, &["raised", "cleared"]),
            r#"{"l":[{"a":"trigger","b":true,"s":"stream s0"},{"a":"resolve","b":true,"s":"stream s1"}],"n":2,"t":"2: high"}"#
        );
    }

    #[test]
    fn a_value_keeps_its_kind_alone_and_is_text_among_others() {
        assert_eq!(
            rendered(
                r#"["{attempts}","{attempts} times","{request_ids}","{said}","{said|entities}","{secret.key}","{{{alert}}}"]"#,
                &["raised"]
            ),
            r#"[2,"2 times",["r-1","r-2"],"a \"quote\" & <b>","a \"quote\" &amp; &lt;b&gt;","k\"ey","{raised}"]"#
        );
    }

    #[test]
    fn what_an_alert_has_not_is_left_out_with_its_name() {
        assert_eq!(
            rendered(
                r#"{"said":"{said}","tag":"{tags.customer}","in":"said: {said}","case":"{alert: raised=x}"}"#,
                &["cleared"]
            ),
            r#"{"in":"said: "}"#
        );
    }

    #[test]
    fn a_mistake_is_told_with_what_would_be_right() {
        let wrong = |template: &str| Template::parse(template, &["key"], false).unwrap_err();
        let shown = [
            wrong(r#"{"text": {text}}"#),
            wrong(r#"{"text": "fixed"}"#),
            wrong(r#"{"text": "{subjct}"}"#),
            wrong(r#"{"text": "{subject}"}"#),
            wrong(r#"{"text": "{text|html}"}"#),
            wrong(r#"{"text": "{worst: high}"}"#),
            wrong(r#"{"text": "{secret.other}"}"#),
            wrong(r#"{"text": "{text"}"#),
            wrong(r#"["{each}", 1, 2]"#),
            wrong(r#"["{each}", ["{each}", "{subject}"]]"#),
        ];
        insta::assert_snapshot!(shown.join("\n"), @r#"
        is not JSON, at its line 1, column 11: places stand in strings, such as {"text": "{text}"}
        has no place, so all messages would be alike; write such as {text}
        has {subjct}, which no alert has; did you mean "subject"?; docs/alerts.md lists what there is, and a brace is written {{
        has {subject}, which is of one alert, where all are told: put it into a list that begins with "{each}", or set max_alerts = 1
        has an unknown way to write a value, "html"; there is "entities"
        has a place with cases that are not written {alert: cleared=resolve, *=trigger}
        names the secret "other", which is not in secrets
        has a brace without its other one; write {{ or }} for a brace
        has a list that begins with "{each}" and has not just one element behind it
        has "{each}" within "{each}"
        "#);
    }

    proptest! {
        #[test]
        fn no_value_breaks_the_json_around_it(said in "\\PC*|[\"\\\\{}\n\u{0}]*") {
            let mut record = alert("raised", "x");
            let mut json: Value = serde_json::from_slice(&record.body).unwrap();
            json["said"] = said.clone().into();
            record.body = json.to_string().into();
            let template = Template::parse(r#"["{said}","<{said}>"]"#, &[], true).unwrap();
            let out = template.render(&[Told::of(&record)], &BTreeMap::new());
            let back: Vec<String> = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, [said.clone(), format!("<{said}>")]);
        }
    }
}

//! API 1.0's chain of files: each reply is a file, or a zip of some, and names the token of what follows.

use std::io::{Cursor, Write as _};

use serde::Deserialize;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::api::{Asked, Refused};
use super::articles::envelope_fail;
use super::options::IdleToken;
use super::reply::Reply;
use super::shelf::{File, Form, file_time};
use super::world::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    data: [Ask; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ask {
    r#type: String,
    file_format: Option<String>,
    compress: Option<Value>,
    token: Option<String>,
}

impl Ask {
    fn form(&self, asked: &Asked<'_>) -> Result<Form, Refused> {
        let format = self.file_format.as_deref().unwrap_or("key_value");
        match format.to_ascii_lowercase().as_str() {
            "json" => Ok(Form::Json),
            "key_value" => Ok(Form::KeyValue),
            _ => Err(asked.refuse("fileFormat", "must be json or key_value")),
        }
    }

    fn compressed(&self, asked: &Asked<'_>) -> Result<bool, Refused> {
        match &self.compress {
            None => Ok(false),
            Some(Value::Bool(compress)) => Ok(*compress),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(asked.refuse("compress", "must be true or false")),
        }
    }

    /// The number of the file that the token names.
    fn position(&self, asked: &Asked<'_>) -> Result<usize, Refused> {
        let Some(token) = &self.token else {
            return Ok(0);
        };
        let payload = asked.world.unseal("siem", token);
        let position = payload.as_deref().and_then(|payload| {
            let (account, number) = payload.rsplit_once(':')?;
            (account == asked.account).then(|| number.parse().ok())?
        });
        // A token may be too old through no fault of the client.
        position.ok_or_else(|| {
            let code = "err_audit_siem_invalid_token";
            let body = envelope_fail(400, code, "the token is not valid", Some("token"));
            Refused::fair(Reply::json(200, &body))
        })
    }
}

impl Asked<'_> {
    fn refuse(&self, field: &str, message: &str) -> Refused {
        Refused::value(self.call, field, message)
    }
}

pub(super) fn serve(asked: &Asked<'_>, state: &mut State) -> Result<Reply, Refused> {
    let body: Body = serde_json::from_slice(&asked.call.body)
        .map_err(|error| Refused::unreadable(asked.call, error.to_string()))?;
    let [ask] = &body.data;
    if ask.r#type != "MTA" {
        return Err(asked.refuse("type", "must be MTA"));
    }
    let form = ask.form(asked)?;
    let compressed = ask.compressed(asked)?;
    let position = ask.position(asked)?;
    let Some(member) = state.accounts.get_mut(asked.account) else {
        return Ok(idle(asked, ask));
    };
    let files = member.shelf.files(asked.log, "");
    let rest = files.get(position..).unwrap_or_default();
    let Some(first) = rest.first() else {
        return Ok(idle(asked, ask));
    };
    let (name, contents, count) = if compressed {
        let most = rest.len().min(asked.world.options.files_per_page.max(1));
        let ended = member.shelf.zips.get(&position);
        let count = ended.map_or(most, |end| end - position);
        let stem = file_time(first.named);
        let contents = zip(rest.iter().take(count), form);
        (format!("siem_{stem}.zip"), contents, count)
    } else {
        (first.name(form), first.contents(form), 1)
    };
    let next = position + count;
    if compressed {
        member.shelf.zips.insert(position, next);
    }
    let token = asked
        .world
        .seal("siem", &format!("{}:{next}", asked.account));
    Ok(Reply::new(200, "application/octet-stream", contents)
        .with(
            "content-disposition",
            format!("attachment; filename=\"{name}\""),
        )
        .with("mc-siem-token", token))
}

/// Nothing more.
fn idle(asked: &Asked<'_>, ask: &Ask) -> Reply {
    let body = json!({"meta": {"isLastToken": true, "status": 200}, "data": [], "fail": []});
    let reply = Reply::json(200, &body);
    match (&ask.token, asked.world.options.idle_token) {
        (Some(token), IdleToken::Repeated) => reply.with("mc-siem-token", token),
        (Some(_), IdleToken::Omitted) | (None, _) => reply,
    }
}

impl File {
    fn name(&self, form: Form) -> String {
        let end = match form {
            Form::Json => "json",
            Form::KeyValue | Form::Event => "siem",
        };
        format!("{}_{}.{end}", self.batch.kind, file_time(self.named))
    }

    fn contents(&self, form: Form) -> Vec<u8> {
        let lines = self.batch.lines(form);
        match form {
            Form::KeyValue | Form::Event => lines.flatten().collect(),
            Form::Json => {
                let mut document = br#"{"type":"MTA","data":["#.to_vec();
                for (i, line) in lines.enumerate() {
                    if i > 0 {
                        document.push(b',');
                    }
                    document.extend(line);
                }
                document.extend(b"]}");
                document
            }
        }
    }
}

fn zip<'a>(files: impl Iterator<Item = &'a File>, form: Form) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut written = Ok(());
    for file in files {
        written = written
            .and_then(|()| archive.start_file(file.name(form), SimpleFileOptions::default()))
            .and_then(|()| Ok(archive.write_all(&file.contents(form))?));
    }
    // Writing to memory does not fail, and names do not repeat.
    let finished = written.and_then(|()| archive.finish());
    finished.map(Cursor::into_inner).unwrap_or_default()
}

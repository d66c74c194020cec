//! What the configuration accepts, and what an operator reads when it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use mimecast_collector::config::Config;
use mimecast_collector::http::Proxy;
use mimecast_collector::mimecast::log_types::{FileFormat, Paging};
use mimecast_collector::output::config::OutputKind;
use mimecast_collector::poll::config::IntegrationConfig;

const INTEGRATION: &str = r#"
    [[integration]]
    name = "acme"
    client_id = "id"
    client_secret = { env = "ACME" }
    logs = ["audit"]
"#;

const OUTPUT: &str = r#"
    [[output]]
    name = "console"
    type = "stdout"
"#;

const HEC: &str = r#"
    [[output]]
    name = "splunk"
    type = "splunk_hec"
    url = "https://splunk.example.com:8088"
    token = { env = "TOKEN" }
"#;

/// A folder with the given files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What is said of the files, without the folder's name.
fn relative(text: impl ToString, folder: &Path) -> String {
    text.to_string()
        .replace(&format!("{}/", folder.display()), "")
}

fn load(files: &[(&str, &str)]) -> Result<Config, String> {
    let folder = folder(files);
    Config::load(&folder.path().join("config.toml"))
        .map_err(|problems| relative(problems, folder.path()))
}

/// The configuration of one file.
fn good(parts: &[&str]) -> Config {
    load(&[("config.toml", &parts.concat())]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is said of one file.
fn bad(parts: &[&str]) -> String {
    load(&[("config.toml", &parts.concat())]).unwrap_err()
}

/// A whole configuration with lines added to its one integration.
fn with(lines: &str) -> Result<IntegrationConfig, String> {
    let config = load(&[("config.toml", &[OUTPUT, INTEGRATION, lines].concat())])?;
    Ok(config.integrations.into_iter().next().unwrap())
}

fn v1(name: &str, lines: &str) -> String {
    format!(
        r#"
        [[integration]]
        name = "{name}"
        api = "1.0"
        application_id = "app"
        application_key = {{ literal = "key" }}
        secret_key = {{ literal = "c2VjcmV0" }}
        logs = "all"
        {lines}
        "#
    )
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let main = r#"
state_dir = 5

[[integration]]
name = "acme-uk"
client_id = "id"
client_secret = { fil = "/run/secret" }
logs = ["siem-cg", "audits"]
intervall = "10m"
"#;
    let more = r#"
[[output]]
name = "splunk"
type = "splunk_hec"
url = "https://splunk.example.com:8088/services/collector"
gzip = "yes"
"#;
    let told = load(&[("config.toml", main), ("conf.d/splunk.toml", more)]).unwrap_err();
    assert_snapshot!(told, @r#"
    config.toml:2:13: state_dir: expected a path such as "/etc/ssl/ca.pem", found a number
    config.toml:7:17: integration[acme-uk].client_secret: unknown kind of secret; did you mean "file"?; known are "credential", "file", "env", "literal"
    config.toml:8:20: integration[acme-uk].logs: unknown log type "audits"; did you mean "audit"?
    config.toml:9:1: integration[acme-uk].intervall: unknown key; did you mean "interval"?
    conf.d/splunk.toml:2:1: output[splunk].token: is missing; expected { credential = "NAME" } (of systemd), { file = "PATH" }, { env = "VARIABLE" } or { literal = "…" }
    conf.d/splunk.toml:5:7: output[splunk].url: has a path, which the program adds itself; expected scheme, host and port only, such as "https://server.example.com:8088"
    conf.d/splunk.toml:6:8: output[splunk].gzip: expected true or false, found a string
    7 problems in 2 files
    "#);
}

#[test]
fn what_is_no_toml_does_not_hide_other_mistakes_nor_show_its_line() {
    let told = bad(&[r#"
[[integration]]
name = "acme"
client_id = "id"
client_secret = hunter2
logs = ["audit"]
interval = 5m
start = "5 weeks"

[[output]]
name = "console"
type = "stdout
"#]);
    assert_snapshot!(told, @r#"
    config.toml:5:17: this is not TOML: string values must be quoted, expected literal string
    config.toml:7:12: this is not TOML: string values must be quoted, expected literal string
    config.toml:8:9: integration[acme].start: unknown unit 'weeks', expected a duration such as "30s", "5m", "2h" or "7d"
    config.toml:12:15: this is not TOML: invalid basic string, expected `"`
    4 problems in 1 file
    "#);
    assert!(!told.contains("hunter2"));
}

#[test]
fn a_missing_file_and_an_empty_one_are_told_what_they_need() {
    assert_snapshot!(load(&[]).unwrap_err(), @r#"
    config.toml: cannot read the file: No such file or directory (os error 2); give the right path with --config, or begin with a copy of config.example.toml
    1 problem in 1 file
    "#);
    assert_snapshot!(bad(&[""]), @r#"
    config.toml:1:1: integration: is missing; expected at least one [[integration]], which says what is fetched
    config.toml:1:1: output: is missing; expected at least one [[output]], which says where it goes
    2 problems in 1 file
    "#);
    assert_snapshot!(bad(&["integration = []\n[output]\nname = \"x\"\n[[log]]\n"]), @r#"
    config.toml:1:15: integration: there may be several of these: write [[integration]] with two brackets at each side
    config.toml:2:1: output: there may be several of these: write [[output]] with two brackets at each side
    config.toml:4:1: log: expected one table, written [log], found a list
    3 problems in 1 file
    "#);
}

#[test]
fn a_secret_has_exactly_one_of_four_forms() {
    for form in ["credential", "file", "env", "literal"] {
        let output = HEC.replace("env = ", &format!("{form} = "));
        let config = good(&[INTEGRATION, &output]);
        assert_eq!(config.warnings.len(), usize::from(form == "literal"));
    }
    let told = |secret: &str| {
        let told = bad(&[INTEGRATION, &HEC.replace("{ env = \"TOKEN\" }", secret)]);
        assert!(!told.contains("hunter2"), "{told}");
        told.lines().next().unwrap().to_owned()
    };
    let all = [
        r#""hunter2""#,
        r#"{ env = "A", file = "hunter2" }"#,
        "{}",
        r#"{ hunter2 = "x" }"#,
        r#"{ litteral = "hunter2" }"#,
        r#"{ env = "hunter2!" }"#,
        r#"{ credential = "../hunter2" }"#,
        r#"{ literal = " " }"#,
        "{ literal = 5 }",
        "hunter2",
    ];
    assert_snapshot!(all.map(told).join("\n"), @r#"
    config.toml:12:13: output[splunk].token: a secret does not stand here by itself; say where it is: { credential = "NAME" } (of systemd), { file = "PATH" }, { env = "VARIABLE" } or { literal = "…" }
    config.toml:12:13: output[splunk].token: a secret has exactly one source: { credential = "NAME" } (of systemd), { file = "PATH" }, { env = "VARIABLE" } or { literal = "…" }
    config.toml:12:13: output[splunk].token: a secret has exactly one source: { credential = "NAME" } (of systemd), { file = "PATH" }, { env = "VARIABLE" } or { literal = "…" }
    config.toml:12:13: output[splunk].token: unknown kind of secret; known are "credential", "file", "env", "literal"
    config.toml:12:13: output[splunk].token: unknown kind of secret; did you mean "literal"?; known are "credential", "file", "env", "literal"
    config.toml:12:13: output[splunk].token: env takes the name of an environment variable (letters, digits and _), not its value
    config.toml:12:13: output[splunk].token: a systemd credential is named as in LoadCredential=NAME:…, without slashes
    config.toml:12:13: output[splunk].token: names nothing; give a text that is not empty
    config.toml:12:25: output[splunk].token: expected a string, found a number
    config.toml:12:13: this is not TOML: string values must be quoted, expected literal string
    "#);
}

#[test]
fn secrets_are_not_seen_in_the_debug_form_of_a_configuration() {
    let config = good(&[
        &v1(
            "a",
            "region = \"uk\"\naccess_key = { literal = \"hunter2\" }\nproxy = \"http://u:hunter2@proxy:1\"",
        ),
        &HEC.replace("env = \"TOKEN\"", "literal = \"hunter2\""),
    ]);
    let shown = format!("{config:?}");
    assert!(shown.contains("splunk.example.com"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("c2VjcmV0"),
        "{shown}"
    );
    assert_eq!(config.warnings.len(), 4);
}

#[test]
fn no_slip_of_one_character_makes_a_secret_seen() {
    let text = "[[output]]\nname = \"a\"\ntype = \"splunk_hec\"\nurl = \"https://u:hunter2@h\"\n\
                token = { literal = \"hunter2\" }\nproxy = \"http://u:hunter2@h\"\n[log]\nlevel = \"x\"\n";
    let check = |slip: String| {
        let told = bad(&[&slip]);
        assert!(!told.contains("hunter2"), "{slip}\n{told}");
    };
    for at in 0..text.len() {
        let (before, after) = text.split_at(at);
        check([before, after.split_at(1).1].concat());
        for extra in [
            "\"", "'", "\n", "=", ".", "{", "}", "[", "]", ",", "#", "\\",
        ] {
            check([before, extra, after].concat());
        }
    }
}

#[test]
fn five_minutes_are_the_floor_except_on_this_machine() {
    assert_snapshot!(with("interval = \"299s\"").unwrap_err(), @r#"
    config.toml:11:12: integration[acme].interval: 4 min 59 s is too short; expected at least 5 min from one poll of a log to the next
    1 problem in 1 file
    "#);
    assert_snapshot!(with("interval = \"2d\"").unwrap_err(), @r#"
    config.toml:11:12: integration[acme].interval: 2 d is too long; expected at most 1 d, so that nothing expires at Mimecast before it is fetched
    1 problem in 1 file
    "#);
    let fast = with("interval = \"299s\"\nbase_url = \"http://127.0.0.1:8080/\"").unwrap();
    assert_eq!(fast.base_url, "http://127.0.0.1:8080");
    assert_eq!(fast.logs[0].interval, Duration::from_secs(299));
}

#[test]
fn the_defaults_are_those_of_an_integration_that_says_nothing() {
    let plain = with("").unwrap();
    assert_eq!(plain.base_url, "https://api.services.mimecast.com");
    assert_eq!(plain.connection.proxy, Proxy::Environment);
    let log = &plain.logs[0];
    assert_eq!(
        (log.log.row.name, log.interval),
        ("audit", Duration::from_secs(300))
    );
    assert_eq!(log.start, Duration::from_secs(7 * 86_400));
    let config = good(&[INTEGRATION, OUTPUT]);
    assert_eq!(config.state_dir, Path::new("/var/lib/mimecast-collector"));
    assert_eq!(config.spool.max_bytes, 10 << 30);
    assert_eq!(config.spool.integration_max_bytes, 10 << 28);
}

#[test]
fn no_log_begins_before_mimecast_keeps_it() {
    let logs = with("").unwrap().logs;
    assert_eq!(logs[0].start, Duration::from_secs(7 * 86_400));
    let integration = INTEGRATION.replace("[\"audit\"]", "\"all\"");
    let config = good(&[&integration, "start = \"365d\"", OUTPUT]);
    for log in &config.integrations[0].logs {
        assert_eq!(log.start, log.log.look_back, "{}", log.log.row.name);
    }
}

#[test]
fn api_1_0_is_reached_by_region_or_base_url() {
    let key = "access_key = { env = \"K\" }\n";
    for (line, url) in [
        ("region = \"uk\"", "https://eu-api.mimecast.com"),
        (
            "region = \"uspcom\"",
            "https://uspcom-api.mimecast-pscom-us.com",
        ),
        (
            "base_url = \"https://eu-api.mimecast.com/\"",
            "https://eu-api.mimecast.com",
        ),
    ] {
        let config = good(&[OUTPUT, &v1("a", key), line]);
        assert_eq!(config.integrations[0].base_url, url);
    }
    let told = |line: &str| {
        bad(&[OUTPUT, &v1("a", key), line])
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let all = [
        "",
        "region = \"germany\"",
        "region = \"uk\"\nbase_url = \"https://x.example.com\"",
        "base_url = \"http://x.example.com\"",
        "base_url = \"https://user:hunter2@x.example.com\"",
        "base_url = \"eu-api.mimecast.com\"",
    ];
    assert_snapshot!(all.map(told).join("\n"), @r#"
    config.toml:6:9: integration[a].region: is missing; expected one of "eu", "uk", "de", "us", "usb", "uspcom", "ca", "za", "au", "je", "sandbox", or base_url
    config.toml:15:18: integration[a].region: expected one of "eu", "uk", "de", "us", "usb", "uspcom", "ca", "za", "au", "je", "sandbox", found "germany"
    config.toml:15:18: integration[a].region: base_url names the server already; keep one of the two
    config.toml:15:20: integration[a].base_url: credentials go over https only; write https://
    config.toml:15:20: integration[a].base_url: holds a user name or a password; expected scheme, host and port only, such as "https://server.example.com:8088"
    config.toml:15:20: integration[a].base_url: is not a URL: relative URL without a base; expected scheme, host and port only, such as "https://server.example.com:8088"
    "#);
}

#[test]
fn keys_of_the_other_api_are_explained() {
    assert_snapshot!(with("api = \"2.0\"\naccess_key = { env = \"K\" }").unwrap_err(), @r#"
    config.toml:12:14: integration[acme].access_key: belongs to API 1.0, but this integration uses API 2.0; remove it, or set api = "1.0"
    1 problem in 1 file
    "#);
    assert_snapshot!(with("api = 1.0").unwrap_err(), @r#"
    config.toml:11:7: integration[acme].api: expected one of "2.0", "1.0" (in quotation marks), found a number with a point
    1 problem in 1 file
    "#);
    assert_snapshot!(
        bad(&[OUTPUT, &INTEGRATION.replace("[\"audit\"]", "[\"audit\", \"audit\", \"siem\", \"siem_cg\", 5]")]),
        @r#"
    config.toml:10:22: integration[acme].logs: "audit" stands here twice; once is enough
    config.toml:10:31: integration[acme].logs: API 2.0 does not offer "siem"; it offers "siem-cg", "siem-ci", "audit", "ttp-url", "ttp-attachment", "ttp-impersonation", "dlp", "held-release", "rejections", "archive-search", "archive-view", "held-messages", "held-summary", "awareness-performance", "awareness-watchlist", "awareness-safe-score", "awareness-campaigns", "awareness-campaign-users", "awareness-training", "threat-feed-customer", "threat-feed-grid"
    config.toml:10:39: integration[acme].logs: unknown log type "siem_cg"; did you mean "siem-cg"?
    config.toml:10:50: integration[acme].logs: expected a string, found a number
    4 problems in 1 file
    "#
    );
    assert_snapshot!(bad(&[OUTPUT, &INTEGRATION.replace("[\"audit\"]", "\"audit\"")]), @r#"
    config.toml:10:12: integration[acme].logs: expected a list such as ["siem-cg", "audit"], or "all"; API 2.0 offers "siem-cg", "siem-ci", "audit", "ttp-url", "ttp-attachment", "ttp-impersonation", "dlp", "held-release", "rejections", "archive-search", "archive-view", "held-messages", "held-summary", "awareness-performance", "awareness-watchlist", "awareness-safe-score", "awareness-campaigns", "awareness-campaign-users", "awareness-training", "threat-feed-customer", "threat-feed-grid"
    1 problem in 1 file
    "#);
}

#[test]
fn defaults_fill_what_is_left_out_in_any_file() {
    let main = format!(
        "[defaults.integration]\ninterval = \"10m\"\ntags = {{ team = \"soc\" }}\nproxy = \"none\"\n\
         [defaults.output]\nbatch_bytes = \"1MiB\"\n{OUTPUT}{HEC}"
    );
    let more = format!("{INTEGRATION}\ninterval = \"15m\"");
    let config = load(&[("config.toml", &main), ("conf.d/acme.toml", &more)]).unwrap();
    let integration = &config.integrations[0];
    assert_eq!(integration.logs[0].interval, Duration::from_secs(900));
    assert_eq!(integration.tags["team"], "soc");
    assert_eq!(integration.connection.proxy, Proxy::None);
    let OutputKind::SplunkHec(hec) = &config.outputs[1].kind else {
        panic!()
    };
    assert_eq!(hec.batching.bytes, 1 << 20);
}

#[test]
fn a_wrong_default_is_told_once_and_where_it_stands() {
    let told = bad(&[
        "[defaults.integration]\ninterval = \"5\"\nintervall = \"5m\"\n[defaults.output]\nbatch_bytes = \"3MiB\"\nurls = 1\n",
        INTEGRATION,
        &INTEGRATION
            .replace("acme", "other")
            .replace("\"id\"", "\"id2\""),
        HEC,
    ]);
    assert_snapshot!(told, @r#"
    config.toml:2:12: defaults.integration.interval: expected a duration such as "30s", "5m", "2h" or "7d"
    config.toml:3:1: defaults.integration.intervall: unknown key; did you mean "interval"?
    config.toml:5:15: defaults.output.batch_bytes: must be from 1 B to 2 MiB
    config.toml:6:1: defaults.output.urls: unknown key; did you mean "url"?
    4 problems in 1 file
    "#);
}

#[test]
fn a_quota_is_calls_in_a_time_and_a_simulator_has_none_unless_it_is_said() {
    let quota = |lines: &str| {
        let integration = with(lines)?;
        let quota = integration.logs[0].log.quota;
        Ok::<_, String>(quota.map(|quota| (quota.calls, quota.window.as_secs())))
    };
    assert_eq!(quota(""), Ok(Some((20, 60))));
    let table = "[integration.log.audit]\nquota = ";
    assert_eq!(quota(&format!("{table}\"5 / 1m\"")), Ok(Some((5, 60))));
    let simulated = "base_url = \"http://127.0.0.1:1\"\n";
    assert_eq!(quota(simulated), Ok(None));
    let said = format!("{simulated}{table}\"7/2h\"");
    assert_eq!(quota(&said), Ok(Some((7, 7200))));
    let told = |value: &str| {
        let told = quota(&format!("{table}{value}")).unwrap_err();
        told.lines().next().unwrap().to_owned()
    };
    let all = [
        "20",
        "\"20\"",
        "\"0/1m\"",
        "\"-1/1m\"",
        "\"20/1ms\"",
        "\"20/min\"",
    ];
    assert_snapshot!(all.map(told).join("\n"), @r#"
    config.toml:12:9: integration[acme].log.audit.quota: expected a number of calls and a time, such as "50/15m", found a number
    config.toml:12:9: integration[acme].log.audit.quota: expected a number of calls and a time, such as "50/15m", found a string
    config.toml:12:9: integration[acme].log.audit.quota: must be from 1 to 10000 calls, in a time from 1s to 1d
    config.toml:12:9: integration[acme].log.audit.quota: expected a number of calls and a time, such as "50/15m", found a string
    config.toml:12:9: integration[acme].log.audit.quota: must be from 1 to 10000 calls, in a time from 1s to 1d
    config.toml:12:9: integration[acme].log.audit.quota: expected a duration such as "30s", "5m", "2h" or "7d"
    "#);
}

#[test]
fn conf_d_is_read_in_the_order_of_its_names() {
    let named = |name: &str| {
        INTEGRATION
            .replace("acme", name)
            .replace("\"id\"", &format!("\"{name}\""))
    };
    let config = load(&[
        ("config.toml", OUTPUT),
        ("conf.d/20-b.toml", &named("b")),
        ("conf.d/10-c.toml", &named("c")),
        ("conf.d/30-a.toml", &named("a")),
        ("conf.d/30-a.toml~", "not = read"),
        ("conf.d/.#30-a.toml", "nor = this"),
    ])
    .unwrap();
    let names: Vec<_> = config.integrations.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(names, ["c", "b", "a"]);
}

#[test]
fn what_stands_twice_is_told_with_both_places() {
    let main = format!("state_dir = \"a\"\n[log]\nlevel = \"info\"\n{INTEGRATION}{OUTPUT}{OUTPUT}");
    let more =
        format!("state_dir = \"b\"\n[log]\nlevel = \"warn\"\nformat = \"text\"\n{INTEGRATION}");
    let told = load(&[("config.toml", &main), ("conf.d/more.toml", &more)]).unwrap_err();
    assert_snapshot!(told, @r#"
    config.toml:16:12: output[console].name: output[console] at config.toml:12:12 has the same; an output's positions are kept under its name: choose another
    conf.d/more.toml:1:13: state_dir: is set at config.toml:1:13 too; keep it in one place
    conf.d/more.toml:3:9: log.level: is set at config.toml:3:9 too; keep it in one place
    conf.d/more.toml:7:12: integration[acme].name: integration[acme] at config.toml:6:12 has the same; an integration's state is kept under its name: choose another
    conf.d/more.toml:8:17: integration[acme].client_id: integration[acme] at config.toml:7:17 has the same; each integration needs a credential of its own: list the logs in one integration, or register another application
    5 problems in 2 files
    "#);
}

#[test]
fn two_integrations_with_one_access_key_are_refused() {
    let key = |key: &str| format!("region = \"uk\"\naccess_key = {{ {key} }}");
    let same = [v1("a", &key("env = \"K\"")), v1("b", &key("env = \"K\""))].concat();
    assert_snapshot!(bad(&[OUTPUT, &same]), @r#"
    config.toml:24:14: integration[b].access_key: integration[a] at config.toml:14:14 has the same; each integration needs a credential of its own: list the logs in one integration, or register another application
    1 problem in 1 file
    "#);
}

#[test]
fn secrets_are_checked_all_at_once() {
    let integrations = [
        v1("a", "region = \"uk\"\naccess_key = { file = \"key-1\" }"),
        v1("b", "region = \"uk\"\naccess_key = { file = \"key-2\" }"),
        v1("c", "region = \"uk\"\naccess_key = { file = \"key-3\" }")
            .replace("c2VjcmV0", "hunter2!"),
    ]
    .concat();
    let text = [OUTPUT, &HEC.replace("env", "file"), &integrations].concat();
    let folder = folder(&[
        ("config.toml", &text),
        ("key-1", "hunter2\n"),
        ("key-2", "hunter2"),
        ("TOKEN", ""),
    ]);
    for name in ["key-1", "key-2", "TOKEN"] {
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path().join(name), private).unwrap();
    }
    let config = Config::load(&folder.path().join("config.toml")).unwrap();
    let told = relative(config.check_secrets().unwrap_err(), folder.path());
    assert_snapshot!(told, @r#"
    config.toml:10:13: output[splunk].token: the file TOKEN is empty
    config.toml:30:14: integration[b].access_key: the integrations a and b have the same access key; each integration needs a credential of its own
    config.toml:37:22: integration[c].secret_key: the value in the configuration file is not base64; copy the whole Secret Key that Mimecast shows, with any "=" at its end
    config.toml:40:14: integration[c].access_key: cannot read the secret in key-3: No such file or directory (os error 2): it must exist and be readable by the user of this program
    4 problems in 1 file
    "#);
    assert!(!told.contains("hunter2"));
}

#[test]
fn relative_paths_begin_at_the_folder_of_their_file() {
    let folder = folder(&[
        (
            "config.toml",
            &["state_dir = \"state\"\n", INTEGRATION].concat(),
        ),
        ("conf.d/x.toml", &[HEC, "ca_file = \"ca.pem\""].concat()),
    ]);
    let config = Config::load(&folder.path().join("config.toml")).unwrap();
    assert_eq!(config.state_dir, folder.path().join("state"));
    let OutputKind::SplunkHec(hec) = &config.outputs[0].kind else {
        panic!()
    };
    let ca_file = hec.connection.ca_file.clone().unwrap();
    assert_eq!(ca_file, folder.path().join("conf.d/ca.pem"));
}

#[test]
fn odd_values_are_told_what_would_be_right() {
    let told = bad(&[
        "\n[spool]\nmax_bytes = \"1GiB\"\nintegration_max_bytes = \"2GiB\"\n[log]\nformat = \"jsn\"\nlevel = 3\n",
        &INTEGRATION.replace("\"acme\"", "\"a/b\\n\""),
        "start = \"\"\ntags = { \"\\n\" = 5 }\nproxy = \"ftp://hunter2\"\nca_file = \"\"",
        &HEC.replace("splunk_hec", "splunkhec"),
        HEC,
        "index = \" main\"\nhost = \"\"\nbatch_bytes = \"3MiB\"",
    ]);
    assert_snapshot!(told, @r#"
    config.toml:4:25: spool.integration_max_bytes: is more than max_bytes, which is 1 GiB
    config.toml:6:10: log.format: expected one of "auto", "text", "json", found "jsn"; did you mean "json"?
    config.toml:7:9: log.level: expected one of "error", "warn", "info", "debug", "trace" (in quotation marks), found a number
    config.toml:10:12: integration[a/b\n].name: a name has only letters, digits, '.', '_' and '-'
    config.toml:14:9: integration[a/b\n].start: expected a duration such as "30s", "5m", "2h" or "7d"
    config.toml:15:17: integration[a/b\n].tags.\n: expected a string, found a number
    config.toml:16:9: integration[a/b\n].proxy: is not a proxy; expected "none", "environment" or a URL such as "http://proxy.example.com:3128" (schemes http, https, socks5, socks5h)
    config.toml:17:11: integration[a/b\n].ca_file: is empty; give a path, or remove the key
    config.toml:20:12: output[splunk].type: expected one of "splunk_hec", "syslog", "http", "file", "stdout", "webhook", "exec", found "splunkhec"; did you mean "splunk_hec"?
    config.toml:25:12: output[splunk].name: output[splunk] at config.toml:19:12 has the same; an output's positions are kept under its name: choose another
    config.toml:29:9: output[splunk].index: begins or ends with white space; take it away
    config.toml:30:8: output[splunk].host: is empty; give a text, or remove the key
    config.toml:31:15: output[splunk].batch_bytes: must be from 1 B to 2 MiB
    13 problems in 1 file
    "#);
    assert!(!told.contains("hunter2"));
}

#[test]
fn an_http_output_is_told_what_does_not_go_together_and_shows_no_secret() {
    let output = |name: &str, lines: &str| {
        format!("\n[[output]]\nname = \"{name}\"\ntype = \"http\"\n{lines}\n")
    };
    let told = bad(&[
        INTEGRATION,
        &output("bare", ""),
        &output(
            "urls",
            "url = [\"https://a.example/in?key=hunter2\", \"ftp://b\", \"https://me:hunter2@c\", \"d\"]",
        ),
        &output(
            "array",
            "url = \"https://a.example\"\nbody = \"json_array\"\nformat = \"cef\"\ntimeout = \"1h\"\nmax_event_bytes = \"2MiB\"\noversized = \"drop\"\ngzip_level = 10\nclient_cert = \"me.pem\"",
        ),
        &output(
            "both",
            "url = \"https://a.example\"\ntoken = { env = \"T\" }\nusername = \"me\"\npassword = { env = \"P\" }",
        ),
        &output("half", "url = \"https://a.example\"\nusername = \"me\""),
        &output(
            "headers",
            "url = \"https://a.example\"\ntoken = { env = \"T\" }\nheaders = { \"a b\" = \"1\", Host = \"x\", X-A = 5, X-B = { vault = \"hunter2\" }, Authorization = \"y\" }",
        ),
    ]);
    assert!(!told.contains("hunter2"), "{told}");
    assert_snapshot!(told, @r#"
    config.toml:8:1: output[bare].url: is missing; expected a URL such as "https://vector.example.com:8080/events", or a list of them
    config.toml:16:44: output[urls].url: is not a URL of http or https; expected a URL such as "https://vector.example.com:8080/events"
    config.toml:16:55: output[urls].url: holds a user name or a password; they belong into username and password
    config.toml:16:79: output[urls].url: is not a URL: relative URL without a base; expected a URL such as "https://vector.example.com:8080/events"
    config.toml:23:10: output[array].format: must be "json" for body = "json_array"
    config.toml:24:11: output[array].timeout: must be from 1s to 5m
    config.toml:25:19: output[array].max_event_bytes: must be from 1 KiB to 1 MiB
    config.toml:26:13: output[array].oversized: expected one of "truncate", "quarantine", found "drop"
    config.toml:27:14: output[array].gzip_level: must be from 1, the fastest, to 9
    config.toml:28:15: output[array].client_cert: needs client_key beside it
    config.toml:34:9: output[both].token: stands beside username and password; a request has one of the two
    config.toml:42:12: output[half].username: needs password beside it
    config.toml:49:11: output[headers].headers: has "authorization", which token or username and password set
    config.toml:49:21: output[headers].headers.a b: is not the name of a header
    config.toml:49:33: output[headers].headers.Host: is set by the program, or stands here twice
    config.toml:49:44: output[headers].headers.X-A: expected a text, or for a secret { credential = "NAME" }, { file = "PATH" } or { env = "VARIABLE" }, found a number
    config.toml:49:53: output[headers].headers.X-B: unknown kind of secret; known are "credential", "file", "env", "literal"
    17 problems in 1 file
    "#);
    let clear = good(&[
        INTEGRATION,
        &output("clear", "url = \"http://a.example/in\""),
    ]);
    let warned: Vec<_> = clear.warnings.iter().map(ToString::to_string).collect();
    assert!(warned[0].contains("in the clear"), "{warned:?}");
}

#[test]
fn a_syslog_output_is_told_what_does_not_go_together() {
    let output = |name: &str, lines: &str| {
        format!("\n[[output]]\nname = \"{name}\"\ntype = \"syslog\"\n{lines}\n")
    };
    let told = bad(&[
        INTEGRATION,
        &output("bare", ""),
        &output(
            "udp",
            "address = [\"siem\", \"a:514\", \"b:0\"]\ntransport = \"udp\"\nframing = \"lf\"\nmax_bytes = \"1MiB\"\nca_file = \"ca.pem\"",
        ),
        &output(
            "tls",
            "address = \"siem:6514\"\nclient_cert = \"me.pem\"\nrfc = \"5242\"\nformat = \"leaf\"\nfacility = \"local8\"\nmax_bytes = \"100B\"",
        ),
        &output(
            "unix",
            "address = [\"run/log\"]\ntransport = \"unix\"\napp_name = \"my app\"\nhostname = \"\"\nformat = \"template\"",
        ),
        &output(
            "twice",
            "address = [\"a:1\", \"a:1\"]\ntransport = \"tcp\"\nformat = \"template\"\ntemplate = \"{time\"",
        ),
        &output(
            "none",
            "address = []\nframings = \"lf\"\ntemplate = \"{time}\"",
        ),
    ]);
    assert_snapshot!(told, @r#"
    config.toml:8:1: output[bare].address: is missing; expected an address such as "siem.example.com:6514", or a list of them
    config.toml:16:11: output[udp].address: "b:0": expected host and port, such as "siem.example.com:6514"
    config.toml:16:11: output[udp].address: "siem": expected host and port, such as "siem.example.com:6514"
    config.toml:18:11: output[udp].framing: a datagram is one message, without a frame
    config.toml:19:13: output[udp].max_bytes: must be from 480 B to 63.9 KiB
    config.toml:20:11: output[udp].ca_file: is for transport = "tls" only
    config.toml:26:15: output[tls].client_cert: needs client_key beside it
    config.toml:27:7: output[tls].rfc: expected one of "5424", "3164", found "5242"; did you mean "5424"?
    config.toml:28:10: output[tls].format: expected one of "json", "key_value", "cef", "leef", "leef2", "template", found "leaf"; did you mean "leef"?
    config.toml:29:12: output[tls].facility: expected one of "user", "mail", "daemon", "auth", "authpriv", "audit", "alert", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7", found "local8"; did you mean "local0"?
    config.toml:30:13: output[tls].max_bytes: must be from 480 B to 1 MiB
    config.toml:32:1: output[unix].template: is missing; expected a text such as "{time} {integration} {event}"
    config.toml:35:11: output[unix].address: "run/log": expected a path that begins with "/"
    config.toml:37:12: output[unix].app_name: must be 1 to 48 printable ASCII characters without a space
    config.toml:38:12: output[unix].hostname: must be 1 to 48 printable ASCII characters without a space
    config.toml:44:11: output[twice].address: "a:1" stands here twice; once is enough
    config.toml:47:12: output[twice].template: has a "{" without its "}" before "time"; write {{ for a brace
    config.toml:52:11: output[none].address: names no server
    config.toml:53:1: output[none].framings: unknown key; did you mean "framing"?
    config.toml:54:12: output[none].template: is for format = "template" only
    20 problems in 1 file
    "#);
}

#[test]
fn an_output_without_tls_works_but_warns() {
    let config = good(&[INTEGRATION, &HEC.replace("https", "http")]);
    assert_snapshot!(config.warnings[0].text, @"the token and all events go over the network in the clear; use https");
    let local = HEC.replace("https://splunk.example.com", "http://[::1]");
    assert!(good(&[INTEGRATION, &local]).warnings.is_empty());
}

#[test]
fn a_log_type_can_be_had_otherwise_than_the_others() {
    let integration = INTEGRATION.replace("[\"audit\"]", "\"all\"");
    let config = good(&[
        "[defaults.integration]\ninterval = \"10m\"\n[defaults.integration.log.audit]\npage_size = 50\nstart = \"2d\"\n",
        &integration,
        r#"
        [integration.log.siem-cg]
        types = ["receipt", "url protect"]
        mode = "stream"
        [integration.log.dlp]
        enabled = false
        [integration.log.audit]
        start = "1d"
        [integration.log.archive-search]
        path = "/api/archive/get-search-logs"
        interval = "1h"
        [integration.log.threat-feed-grid]
        file_format = "stix"
        "#,
        OUTPUT,
    ]);
    let logs = &config.integrations[0].logs;
    let find = |name: &str| logs.iter().find(|log| log.log.row.name == name);
    let siem = find("siem-cg").unwrap();
    assert_eq!(siem.event_types, ["receipt", "url protect"]);
    assert_eq!(&*siem.log.path, "/siem/v1/events/cg");
    assert_eq!(siem.log.paging, Paging::Stream);
    assert_eq!(siem.start, Duration::from_secs(86_400));
    assert!(find("dlp").is_none());
    let audit = find("audit").unwrap();
    assert_eq!(audit.log.page_size, 50);
    assert_eq!(audit.start, Duration::from_secs(86_400));
    let archive = find("archive-search").unwrap();
    assert_eq!(&*archive.log.path, "/api/archive/get-search-logs");
    assert_eq!(archive.interval, Duration::from_secs(3_600));
    let slow = find("awareness-campaigns").unwrap();
    assert_eq!(slow.interval, Duration::from_secs(86_400));
    let feed = find("threat-feed-grid").unwrap();
    assert_eq!(
        feed.log.paging,
        Paging::Feed {
            feed: "malware_grid",
            format: FileFormat::Stix
        }
    );
}

#[test]
fn the_table_of_a_log_type_is_checked_like_the_rest() {
    let integration = INTEGRATION.replace("[\"audit\"]", "[\"audit\", \"siem-cg\", \"dlp\"]");
    let told = bad(&[
        &integration,
        r#"
[integration.log.siem-cg]
types = ["reciept", "av", "av"]
mode = "streams"
page_size = 101
compress = true
interval = "1m"
[integration.log.audit]
page_size = -1
path = "api/audit/"
mode = "stream"
[integration.log.ttp-url]
enabled = true
[integration.log.audits]
enabled = true
"#,
        OUTPUT,
    ]);
    assert_snapshot!(told, @r#"
    config.toml:9:10: integration[acme].log.siem-cg.types: unknown event type "reciept"; did you mean "receipt"?; there are "attachment protect", "av", "delivery", "impersonation protect", "internal email protect", "journal", "process", "receipt", "spam", "url protect"
    config.toml:9:27: integration[acme].log.siem-cg.types: "av" stands here twice; once is enough
    config.toml:10:8: integration[acme].log.siem-cg.mode: expected one of "batch", "stream", found "streams"; did you mean "stream"?
    config.toml:11:13: integration[acme].log.siem-cg.page_size: must be from 1 to 100
    config.toml:12:1: integration[acme].log.siem-cg.compress: unknown key; known are "enabled", "interval", "mode", "page_size", "path", "quota", "start", "types"
    config.toml:13:12: integration[acme].log.siem-cg.interval: 1 min is too short; expected at least 5 min from one poll of a log to the next
    config.toml:15:13: integration[acme].log.audit.page_size: is too large, or negative
    config.toml:16:8: integration[acme].log.audit.path: is not a path; expected one such as "/api/audit/get-audit-events", without a slash at its end
    config.toml:17:1: integration[acme].log.audit.mode: unknown key; known are "enabled", "interval", "page_size", "path", "quota", "start"
    config.toml:18:1: integration[acme].log.ttp-url: is none of this integration's logs; add it to logs, or remove the table
    config.toml:20:18: integration[acme].log.audits: unknown key; did you mean "audit"?
    11 problems in 1 file
    "#);
    let none = "[integration.log.audit]\nenabled = false\n";
    assert_snapshot!(with(none).unwrap_err(), @r#"
    config.toml:10:12: integration[acme].logs: has no log type that is enabled
    1 problem in 1 file
    "#);
}

#[test]
fn a_start_that_the_log_type_cuts_short_is_said() {
    let warned = |integration: &str| {
        let config = good(&[integration, HEC]);
        let warnings = config.warnings.iter().map(ToString::to_string);
        warnings.collect::<Vec<_>>().join("\n")
    };
    let integration = INTEGRATION.replace("[\"audit\"]", "[\"audit\", \"siem-cg\"]");
    assert_eq!(warned(&format!("{integration}\nstart = \"7d\"\n")), "");
    let told = warned(&format!("{integration}\nstart = \"30d\"\n"));
    assert!(
        told.contains("integration[acme].start: Mimecast keeps siem-cg for 7 d"),
        "{told}"
    );
    let own = "[integration.log.siem-cg]\nstart = \"8d\"\n";
    let told = warned(&format!("{integration}\n{own}"));
    assert!(
        told.contains("start: Mimecast keeps this log for 7 d"),
        "{told}"
    );
}

const TWO: &str = r#"
    [[integration]]
    name = "acme"
    client_id = "id"
    client_secret = { env = "ACME" }
    logs = ["audit", "siem-cg"]
    tags = { customer = "acme" }

    [[integration]]
    name = "beta"
    client_id = "id2"
    client_secret = { env = "BETA" }
    logs = ["audit"]
"#;

#[test]
fn an_output_takes_what_its_route_names_by_name_or_by_tag() {
    let lines =
        "integrations = [\"tag.customer=acme\"]\nlogs = [\"siem-cg\"]\ncarry = [\"events\"]\n";
    let rest = OUTPUT.replace("console", "rest");
    let config = good(&[TWO, OUTPUT, lines, &rest]);
    let takes = |lane: &str| {
        let lane = mimecast_collector::model::LaneId::from_text(lane);
        config.outputs[0].route.takes(&lane)
    };
    assert!(takes("acme/siem-cg/receipt"));
    assert!(!takes("acme/audit") && !takes("beta/audit") && !takes("@collector"));
}

#[test]
fn a_log_that_no_output_takes_is_named() {
    let lines = "integrations = [\"acme\"]\nlogs = [\"siem-cg\"]\n";
    assert_snapshot!(bad(&[TWO, OUTPUT, lines]), @r#"
    config.toml:1:1: output: no output takes acme/audit: add it to the integrations or logs of one, or do not fetch it
    config.toml:1:1: output: no output takes beta/audit: add it to the integrations or logs of one, or do not fetch it
    2 problems in 1 file
    "#);
}

#[test]
fn a_mistake_in_a_route_or_a_filter_is_told_with_what_would_be_right() {
    let lines = r#"
    integrations = ["acmee", "tag.customer=beta"]
    logs = ["audits"]
    carry = ["alert"]
    filter = [{ field = "a", then = "drop" }, { field = "b", matches = "(", then = "keep" }]
    hash_fields = "Subject"
"#;
    let told = bad(&[TWO, OUTPUT, lines]);
    for text in [
        "no integration is called \"acmee\"; did you mean",
        "no integration has the tag \"tag.customer=beta\"",
        "no integration fetches \"audits\"",
        "unknown kind \"alert\"",
        "has 0 of equals, in and matches; expected exactly one",
        "is not a regular expression",
        "hash_fields: expected a list of strings",
    ] {
        assert!(told.contains(text), "{text} is not in:\n{told}");
    }
}

#[test]
fn what_an_output_for_alerts_can_get_wrong_is_told_without_what_is_secret() {
    let outputs = r#"
        [[output]]
        name = "chat"
        type = "webhook"
        url = "ftp://hooks.example.com/services/canary-of-the-url"
        headers = { "X Team" = "canary-of-a-header" }
        secrets = { key = "canary-of-a-secret" }
        template = '{"text": "{subject}"}'
        timeout = "5m"
        max_alerts = 0

        [[output]]
        name = "pager"
        type = "exec"
        program = "bin/tell"
        args = ["a", 5]
    "#;
    let told = bad(&[INTEGRATION, OUTPUT, outputs]);
    assert!(!told.contains("canary"), "{told}");
    assert_snapshot!(told, @r#"
    config.toml:15:15: output[chat].url: is not a URL of http or https
    config.toml:16:19: output[chat].headers: "X Team" is no name of a header
    config.toml:17:27: output[chat].secrets.key: a secret does not stand here by itself; say where it is: { credential = "NAME" } (of systemd), { file = "PATH" }, { env = "VARIABLE" } or { literal = "…" }
    config.toml:18:20: output[chat].template: has {subject}, which is of one alert, where all are told: put it into a list that begins with "{each}", or set max_alerts = 1
    config.toml:19:19: output[chat].timeout: must be from 1s to 20s: a stop waits for it
    config.toml:20:22: output[chat].max_alerts: must be 1 at least
    config.toml:25:19: output[pager].program: is not the absolute path of a program such as "/usr/local/bin/tell-someone"; arguments go into args, and no shell is asked
    config.toml:26:22: output[pager].args: expected a string, found a number
    8 problems in 1 file
    "#);
    let exposed = r#"
        [[output]]
        name = "chat"
        type = "webhook"
        url = "http://hooks.example.com/services/canary-of-the-url"
        headers = { Authorization = "Bearer canary-of-a-header" }
    "#;
    let config = good(&[INTEGRATION, OUTPUT, exposed]);
    assert!(!format!("{config:?}").contains("canary"));
    let warnings: Vec<_> = config.warnings.iter().map(|one| one.text.clone()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("in the clear")));
    assert!(warnings.iter().any(|text| text.contains("held a key")));
    let carry = "carry = [\"events\", \"alerts\"]\n";
    let told = bad(&[INTEGRATION, OUTPUT, exposed, carry]);
    let words = "output[chat].carry: a webhook carries alerts and heartbeats only";
    assert!(told.contains(words), "{told}");
}

//! Credentials and registration of trunks: where secrets may stand, and that they are shown nowhere.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::scratch::Scratch;
use config::{Change, Register, Secret, diff, effective};

const WORD: &str = "p4ss, \\\"word\\\"";
const LINE: &str = "[[trunk]]\n";

/// The short example, its trunk with these keys.
fn with(keys: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.edit("short.toml", LINE, &format!("{LINE}{keys}\n"));
    scratch
}

fn written(word: &str) -> String {
    format!("credentials = {{ username = \"u1\", password = \"{word}\", realm = \"a.example\" }}")
}

#[test]
fn a_password_may_stand_here_in_a_file_or_in_the_environment() {
    let scratch = with(&written(WORD));
    let [login] = &scratch.config("short.toml").trunks[0].credentials[..] else { panic!() };
    assert_eq!((login.username.as_str(), login.realm.as_str()), ("u1", "a.example"));
    assert_eq!(login.password.reveal(), "p4ss, \"word\"");
    let scratch = with(
        "credentials = [\n  { username = \"u\", password = { file = \"word\" }, realm = \"a\" },\n  \
         { username = \"u\", password = { env = \"TRUNKGATE_TLS_KEY\" }, realm = \"b\" }]",
    );
    scratch.write("word", "from a file\r\n");
    let mode = |mode| {
        std::fs::set_permissions(scratch.path("word"), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(0o600);
    let faults = scratch.load("short.toml").unwrap_err().to_string();
    assert!(faults.contains("cannot be a secret"), "a key has many lines: {faults}");
    scratch.edit("short.toml", "{ env = \"TRUNKGATE_TLS_KEY\" }", "{ file = \"word\" }");
    let loaded = scratch.load("short.toml").unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let logins = &loaded.config.trunks[0].credentials;
    assert!(logins.iter().all(|login| login.password.reveal() == "from a file"));
    mode(0o644);
    let warnings = scratch.load("short.toml").unwrap().warnings.to_string();
    assert!(warnings.contains("every user of this host can read the password"), "{warnings}");
}

#[test]
fn what_is_wrong_is_told_without_the_password() {
    for (keys, told) in [
        ("credentials = { username = \"u\", password = \"s3cret\" }", "`realm` is missing"),
        ("credentials = { password = \"s3cret\", realm = \"r\" }", "`username` is missing"),
        ("credentials = { username = \"u\", realm = \"r\" }", "`password` is missing"),
        (
            "credentials = { username = \"u\", password = \"s3cret\\n\", realm = \"r\" }",
            "cannot be a secret",
        ),
        (
            "credentials = { username = \"u\", password = \"\", realm = \"r\" }",
            "cannot be a secret",
        ),
        ("credentials = { username = \"u\", password = 5, realm = \"r\" }", "must be a secret"),
        (
            "credentials = { username = \"u\\\"\", password = \"s3cret\", realm = \"r\" }",
            "between quotes",
        ),
        (
            "credentials = { username = \"u\", password = { file = \"none\" }, realm = \"r\" }",
            "none",
        ),
        (
            "credentials = { username = \"u\", password = { env = \"NO_SUCH\" }, realm = \"r\" }",
            "has no variable NO_SUCH",
        ),
        (
            "credentials = { username = \"u\", password = \"s3cret\", realm = \"r\", relm = \"r\" }",
            "`relm` is no key",
        ),
        (
            "credentials = [{ username = \"u\", password = \"s3cret\", realm = \"r\" }, { username = \"v\", password = \"s3cret\", realm = \"r\" }]",
            "two credentials for the realm",
        ),
        ("register = {}", "nobody is registered"),
        ("register = { user = \"a b\" }", "user of a SIP address"),
        ("register = { user = \"a\", expires = \"30s\" }", "no registration lasts 30s"),
        ("register = { user = \"a\", registrar = \"a:5060\" }", "more than a host name"),
        ("register = true", "must be a table"),
    ] {
        let faults = with(keys).load("short.toml").unwrap_err();
        let shown = format!("{faults}\n{faults:?}");
        assert!(shown.contains(told), "{keys}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(faults.to_string().contains("short.toml"), "{faults}");
    }
}

#[test]
fn a_registration_takes_what_it_can_from_the_rest() {
    let keys = format!("{}\nregister = {{}}", written("w"));
    let scratch = with(&keys);
    let trunk = scratch.config("short.toml").trunks.remove(0);
    let registrar = trunk.peers[0].host.to_string();
    let expected = Register {
        registrar,
        user: "u1".to_owned(),
        contact: "u1".to_owned(),
        expires: Duration::from_secs(600),
        each_peer: false,
    };
    assert_eq!(trunk.register, Some(expected));
    scratch.edit(
        "short.toml",
        "register = {}",
        "register = { user = \"+4420\", contact = \"line-1\", registrar = \"2001:db8::1\", expires = \"1h\", each_peer = true }",
    );
    let expected = Register {
        registrar: "[2001:db8::1]".to_owned(),
        user: "+4420".to_owned(),
        contact: "line-1".to_owned(),
        expires: Duration::from_secs(3600),
        each_peer: true,
    };
    assert_eq!(scratch.config("short.toml").trunks[0].register, Some(expected));
}

#[test]
fn what_a_trunk_must_prove_is_of_our_own_realm_unless_another_is_named() {
    let scratch = with("authenticate = { username = \"pbx\", password = \"first-word\" }");
    let config = scratch.config("short.toml");
    let claim = config.trunks[0].authenticate.as_ref().unwrap();
    assert_eq!((claim.realm.as_str(), claim.username.as_str()), ("sbc.example.com", "pbx"));
    assert_eq!(claim.password.reveal(), "first-word");
    assert!(!format!("{}{config:?}", effective(&config)).contains("first-word"));
    scratch.edit("short.toml", "password = \"first", "realm = \"ours\", password = \"second");
    let after = scratch.config("short.toml");
    assert_eq!(after.trunks[0].authenticate.as_ref().unwrap().realm, "ours");
    assert_eq!(diff(&config, &after).len(), 1);
    let faults = with("authenticate = { username = \"pbx\" }").load("short.toml").unwrap_err();
    assert!(faults.to_string().contains("`password` is missing"), "{faults}");
}

#[test]
fn no_output_shows_a_password_and_a_changed_one_is_a_change() {
    let keys = format!("{}\nregister = {{}}", written("first-word"));
    let scratch = with(&keys);
    let before = scratch.config("short.toml");
    scratch.edit("short.toml", "first-word", "second-word");
    let after = scratch.config("short.toml");
    let changes = diff(&before, &after);
    let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains("credentials") && line.ends_with("→ another secret"), "{line}");
    scratch.write("word", "second-word");
    scratch.edit("short.toml", "\"second-word\"", "{ file = \"word\" }");
    let moved = scratch.config("short.toml");
    assert_eq!(diff(&after, &moved).len(), 1);
    let shown =
        [&before, &after, &moved].map(|config| format!("{}\n{config:?}", effective(config)));
    for text in shown.iter().chain(&lines) {
        assert!(!text.contains("first-word") && !text.contains("second-word"), "{text}");
    }
    assert!(shown[0].contains("password = \"(hidden)\", realm = \"a.example\""), "{}", shown[0]);
    assert!(shown[2].contains("password = { file = "), "{}", shown[2]);
    assert!(shown[0].contains("register = { registrar = "), "{}", shown[0]);
    assert!(Secret::of("a") == Secret::of("a") && Secret::of("a") != Secret::of("b"));
}

//! Profiles: what a trunk says wins over its profile, and that over its base.

use std::time::Duration;

use crate::scratch::Scratch;
use config::{
    CalledFrom, CallerIdOut, Change, Dialect, Diversion, HeaderRule, NumberForm, Refer, Trunk,
    diff, effective,
};

const PROFILES: &str = r#"
[[profile]]
name = "national"
base = "carrier"
numbers_out = "national"

[[profile]]
name = "carrier"
base = "ims"
headers_to = [
    { copy = "P-Charging-Vector" },
    { add = "X-Account", value = 'a "b" \' },
    { replace = "P-Charging-Vector", match = ';.*$', with = "" },
    { set = "X-B", value = "" },
    { remove = "X-A" },
]
refer = "local"
"#;

/// The trunk of the short example, with keys of its own and tables before it.
fn trunk(tables: &str, keys: &str) -> Trunk {
    let scratch = scratch(tables, keys);
    scratch.config("short.toml").trunks.remove(0)
}

fn scratch(tables: &str, keys: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.edit("short.toml", "[[trunk]]\n", &format!("{tables}\n[[trunk]]\n{keys}\n"));
    scratch
}

#[test]
fn without_a_profile_a_trunk_is_generic() {
    for keys in ["", "profile = \"generic\""] {
        let trunk = trunk("", keys);
        assert_eq!(*trunk.dialect, Dialect::default());
        assert_eq!(
            (trunk.trusted, trunk.refer, trunk.options_interval),
            (false, Refer::Refuse, None)
        );
        assert_eq!(trunk.status_map, [(500, 503), (502, 503)].into());
    }
    let generic = Dialect::default();
    assert_eq!(generic.called_from, [CalledFrom::RequestUri]);
    assert_eq!((generic.numbers_out, generic.caller_id_out), (NumberForm::E164, None));
}

#[test]
fn the_nearest_one_that_says_something_counts() {
    let keys =
        "profile = \"national\"\ncountry = \"GB\"\noptions_interval = \"10s\"\nuser_phone = false";
    let trunk = trunk(PROFILES, keys);
    let of = &trunk.dialect;
    assert_eq!((of.numbers_out, of.user_phone), (NumberForm::National, false));
    assert_eq!(
        (trunk.refer, trunk.trusted, trunk.diversion),
        (Refer::Local, true, Diversion::HistoryInfo)
    );
    assert_eq!(of.called_from, [CalledFrom::CalledPartyId, CalledFrom::RequestUri]);
    assert_eq!(trunk.options_interval, Some(Duration::from_secs(10)));
    let names: Vec<&str> = of.headers_to.iter().map(HeaderRule::name).collect();
    assert_eq!(names, ["P-Charging-Vector", "X-Account", "P-Charging-Vector", "X-B", "X-A"]);
}

/// Written out there is no profile any more, and the same configuration comes of it.
#[test]
fn the_effective_form_says_what_came_of_it() {
    for profile in ["national", "carrier", "ims", "pbx", "sipconnect", "sipconnect-registration"] {
        let keys = format!("profile = \"{profile}\"\ncountry = \"GB\"");
        let scratch = scratch(PROFILES, &keys);
        let config = scratch.config("short.toml");
        let text = effective(&config);
        let (main, tenant) = text.split_once("\n# file: tenants.d/").unwrap();
        assert!(!main.contains("profile ="), "{main}");
        scratch.write("again.toml", main);
        std::fs::create_dir(scratch.path("again.d")).unwrap();
        let tenant = tenant.split_once('\n').unwrap().1;
        scratch.write("again.d/office.toml", tenant);
        scratch.edit("again.toml", "state = ", "tenants = \"again.d\"\nstate = ");
        let again = scratch.config("again.toml");
        assert_eq!(again.trunks, config.trunks, "{profile}");
    }
}

#[test]
fn another_profile_is_a_change_of_what_it_says() {
    let config = |keys: &str| scratch(PROFILES, keys).config("short.toml");
    let (before, after) = (config(""), config("profile = \"pbx\""));
    let lines: Vec<_> = diff(&before, &after).iter().map(Change::to_string).collect();
    let of = |key: &str| lines.iter().any(|line| line.contains(&format!(": {key}: ")));
    assert!(of("refer") && of("options_interval") && !of("trusted"), "{lines:#?}");
}

#[test]
fn a_profile_of_the_operator_takes_the_place_of_a_shipped_one() {
    let tables = "[[profile]]\nname = \"ims\"\ncaller_id_out = \"preferred\"\n\
                  [[profile]]\nname = \"generic\"\nrefer = \"pass\"\n";
    let trunk = trunk(tables, "profile = \"ims\"");
    assert_eq!(trunk.dialect.caller_id_out, Some(CallerIdOut::Preferred));
    assert_eq!(
        (trunk.trusted, trunk.refer),
        (false, Refer::Pass),
        "its base is the generic there is"
    );
}

#[test]
fn every_shipped_profile_can_be_pasted() {
    for shipped in config::profiles() {
        let keys = format!("profile = \"{}\"", shipped.name);
        let pasted = trunk(shipped.toml, &keys);
        assert_eq!(pasted, trunk("", &keys), "{}", shipped.name);
        assert!(!shipped.about.is_empty());
    }
}

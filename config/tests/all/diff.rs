//! The difference of two configurations: one line per change, and which need a restart.

use crate::scratch::Scratch;
use config::{Change, ChangeKind, diff};

#[test]
fn nothing_changes_between_a_file_and_itself() {
    let scratch = Scratch::new();
    assert_eq!(diff(&scratch.config("long.toml"), &scratch.config("long.toml")), []);
}

#[test]
fn order_and_spelling_are_no_change() {
    let scratch = Scratch::new();
    let before = scratch.config("provider.toml");
    let text = scratch.read("provider.toml");
    let at = text.find("[[trunk]]\nname = \"carrier-b\"").unwrap();
    let (head, tail) = text.split_at(at);
    let first = head.find("[[trunk]]").unwrap();
    let swapped = format!("{}{tail}\n{}", &head[..first], &head[first..]);
    scratch.write("provider.toml", swapped);
    scratch.edit("provider.toml", "sbc.example.com", "SBC.Example.com");
    let after = scratch.config("provider.toml");
    assert_ne!(before.trunks, after.trunks);
    assert_eq!(diff(&before, &after), []);
}

#[test]
fn each_change_is_one_line() {
    let scratch = Scratch::new();
    let before = scratch.config("long.toml");
    scratch.edit(
        "long.toml",
        "\"tcp:pbx.inside.test\"",
        "\"tcp:pbx2.inside.test\", \"udp:10.0.0.62\"",
    );
    scratch.edit(
        "long.toml",
        "match = { called_prefix = \"+447\", tgrp = \"mobile\" }",
        "match = { called_prefix = \"+447\" }",
    );
    scratch.edit("long.toml", "level = \"info\"", "level = \"debug\"");
    scratch.edit("long.toml", "ports = \"20000-31999\"", "ports = \"20000-32999\"");
    scratch.edit("long.toml", "listen = \"192.0.2.10:5061\"", "listen = \"192.0.2.10:5062\"");
    scratch.edit("long.toml", "options_interval = \"60s\"", "options_interval = \"90s\"");
    scratch.edit("long.toml", "node = \"a\"", "node = \"b\"");
    scratch.edit("long.toml", "[[trunk]]\nname = \"fax\"", "[[trunk]]\nname = \"fax-2\"");
    scratch.edit("long.d/contoso.toml", "\"fax\"", "\"fax-2\"");
    scratch.edit("long.d/contoso.toml", "max_calls = 200\n", "");
    scratch.edit("long.d/contoso.toml", "\"+1001\"", "\"+1002-+1003\"");
    std::fs::remove_file(scratch.path("long.d/fabrikam.toml")).unwrap();
    let changes = diff(&before, &scratch.config("long.toml"));
    let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(changes.iter().any(|change| change.kind == ChangeKind::Removed));
}

#[test]
fn what_comes_and_goes() {
    let scratch = Scratch::new();
    let short = scratch.config("short.toml");
    let long = scratch.config("long.toml");
    let restart = |changes: Vec<Change>, subject: &str| {
        let change =
            changes.into_iter().find(|change| change.subject == subject && change.key.is_none());
        change.map(|change| (change.kind, change.restart))
    };
    let added = |subject| restart(diff(&short, &long), subject);
    assert_eq!(added("edge \"gov\""), Some((ChangeKind::Added, true)));
    assert_eq!(added("realm \"inside\""), Some((ChangeKind::Added, true)));
    assert_eq!(added("trunk \"fax\""), Some((ChangeKind::Added, false)));
    assert_eq!(added("tenant \"contoso\""), Some((ChangeKind::Added, false)));
    let gone = diff(&long, &short);
    assert!(gone.iter().any(
        |change| change.subject == "tenant \"fabrikam\"" && change.kind == ChangeKind::Removed
    ));
}

#[test]
fn a_trunk_that_moves_to_a_tenant_is_a_change() {
    let scratch = Scratch::new();
    let before = scratch.config("short.toml");
    let text = scratch.read("short.toml");
    let (main, trunk) = text.split_at(text.find("[[trunk]]").unwrap());
    scratch.write("short.toml", main);
    let tenant = scratch.read("short.d/office.toml");
    scratch.write("short.d/office.toml", format!("{tenant}\n{trunk}"));
    let changes = diff(&before, &scratch.config("short.toml"));
    let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
    assert_eq!(
        lines,
        [
            "trunk \"carrier-a\": owner: none → office",
            // What is not the tenant's is not shown in its name any more.
            "trunk \"carrier-a\": foreign_caller: \"pass\" → \"main\"",
        ]
    );
}

#[test]
fn a_trunk_that_becomes_an_end_of_calls_is_a_change_without_a_restart() {
    let scratch = Scratch::new();
    let before = scratch.config("long.toml");
    scratch.edit("long.toml", "\"+8000-+8099\"]", "\"+8001-+8100\"]");
    scratch.edit("long.toml", "trunks = [\"carrier-a\"] ", "trunks = [\"fax\", \"carrier-a\"] ");
    scratch.edit("long.toml", "inbound_trunks = [\"carrier-a-mobile\"]", "");
    scratch.edit(
        "long.toml",
        "name = \"fax\"",
        "name = \"fax\"\nnumbers = [\"+442079463000\"]\ninbound_trunks = [\"carrier-a\"]",
    );
    let after = scratch.config("long.toml");
    let lines =
        |changes: Vec<Change>| -> Vec<_> { changes.iter().map(Change::to_string).collect() };
    assert_eq!(
        lines(diff(&before, &after)),
        [
            "trunk \"contact-centre\": numbers: 200 numbers → 200 numbers (1 added, 1 removed)",
            "trunk \"contact-centre\": trunks: [\"carrier-a\"] → [\"fax\", \"carrier-a\"]",
            "trunk \"contact-centre\": inbound_trunks: [\"carrier-a-mobile\"] → none",
            "trunk \"fax\": numbers: none → 1 numbers",
            "trunk \"fax\": main_number: none → \"+442079463000\"",
            "trunk \"fax\": foreign_caller: \"pass\" → \"main\"",
            "trunk \"fax\": inbound_trunks: none → [\"carrier-a\"]",
        ]
    );
}

#[test]
fn a_long_value_is_cut_in_its_line_and_whole_in_its_data() {
    let scratch = Scratch::new();
    let before = scratch.config("short.toml");
    let peers: Vec<_> = (0..50).map(|n| format!("\"udp:198.51.100.5:{}\"", 6000 + n)).collect();
    scratch.edit("short.toml", "\"udp:198.51.100.5:5060\"", &peers.join(", "));
    let changes = diff(&before, &scratch.config("short.toml"));
    assert_eq!(changes.len(), 1);
    assert!(changes[0].to_string().ends_with('…'));
    assert!(changes[0].after.as_ref().unwrap().contains(":6049"));
}

#[test]
fn what_a_running_gateway_has_numbered_keeps_its_numbers() {
    let scratch = Scratch::new();
    let running = scratch.config("long.toml");
    let text = scratch.read("long.toml");
    let (head, tail) = text.split_at(text.find("[[edge]]").unwrap());
    let second = "[[edge]]\nname = \"second\"\nfqdn = \"second.example.com\"\nlisten = \"192.0.2.13:5061\"\n\
                  certificate = \"certs/second.pem\"\nkey = \"certs/second.key\"\n\n";
    scratch.certificate("second", "second.example.com");
    scratch.write("long.toml", format!("{head}{second}{tail}"));
    let mut grown = scratch.config("long.toml");
    let name = |config: &config::Config, index: usize| config.edges[index].name.clone();
    let edges = |config: &config::Config| -> Vec<_> {
        config.edges.iter().map(|edge| edge.name.clone()).collect()
    };
    let known = edges(&running);
    assert_ne!(edges(&grown)[..known.len()], known);
    let of = |config: &config::Config| -> Vec<_> {
        let names = config.tenants.iter().flat_map(|tenant| &tenant.names);
        names.map(|of| (of.fqdn.clone(), name(config, of.edge))).collect()
    };
    let (tenants, realms) = (of(&grown), grown.trunks.len());
    grown.align(&running);
    assert_eq!(edges(&grown)[..known.len()], known);
    assert_eq!(edges(&grown).last().map(String::as_str), Some("second"));
    assert_eq!((of(&grown), grown.trunks.len()), (tenants, realms));

    let mut other = running.clone();
    other.realms.reverse();
    other.media.reverse();
    let (realms, media) = (other.realms.len() - 1, other.media.len() - 1);
    other.trunks.iter_mut().for_each(|trunk| trunk.realm = realms - trunk.realm);
    other.realms.iter_mut().for_each(|realm| realm.media = media - realm.media);
    other.edges.iter_mut().for_each(|edge| edge.media = media - edge.media);
    assert_ne!(other, running);
    other.align(&running);
    assert_eq!(other, running);
}

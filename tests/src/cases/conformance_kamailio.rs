//! `trunkgate lab conformance` against an SBC that is not ours: Kamailio as a plain proxy, with rtpengine. What such a set-up
//! is known to do wrong towards Teams is found, and what it does right is not called broken.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use lab::pki::{Leaf, Pki};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::gateway::binary;
use crate::harness::kamailio::{Programs, tls_settings};
use crate::harness::place::{ADMIN, CARRIER_A, CARRIER_SIDE, EDGE, PROXY, Place};
use crate::harness::watchdog::Watchdog;

const CONFIG: &str = include_str!("../../peers/kamailio/kamailio.cfg");

/// Both programs, ended with what comes back.
fn start(place: Place, pki: &Pki, dir: &Path) -> Programs {
    // Its Record-Route is an address: the certificate covers that too.
    let edge = place.at(EDGE, 5061);
    let names = ["sbc.test".to_owned(), "*.sbc.test".to_owned(), edge.ip().to_string()];
    let (tls, list) = (tls_settings(pki, &names, dir), dir.join("dispatcher.list"));
    let proxies: String = (PROXY..PROXY + 3)
        .map(|host| format!("1 sip:{};transport=tls 0 0 socket=tls:{edge}\n", place.at(host, 5061)))
        .collect();
    fs::write(&list, proxies).unwrap();
    let (trunk, ng) = (place.at(CARRIER_A, 5060), place.at(ADMIN, 2223));
    let config = CONFIG
        .replace("@REALM@", &place.at(CARRIER_SIDE, 5060).to_string())
        .replace("@EDGE@", &edge.to_string())
        .replace("@TLS@", &tls.to_string_lossy())
        .replace("@NG@", &ng.to_string())
        .replace("@LIST@", &list.to_string_lossy())
        .replace("@TRUNK_IP@", &trunk.ip().to_string())
        .replace("@TRUNK@", &trunk.to_string())
        .replace("@PROXY@", &place.at(PROXY, 5061).to_string());
    let interfaces = [("trunk", CARRIER_SIDE), ("teams", EDGE)]
        .map(|(name, host)| format!("--interface={name}/{}", place.ip(host)));
    let media = [
        "--foreground".to_owned(),
        "--log-stderr".to_owned(),
        "--log-level=5".to_owned(),
        "--table=-1".to_owned(),
        "--port-min=20000".to_owned(),
        "--port-max=20999".to_owned(),
        "--num-threads=2".to_owned(),
        "--delete-delay=0".to_owned(),
        "--config-file=none".to_owned(),
        format!("--listen-ng={ng}"),
        format!("--pidfile={}", dir.join("rtpengine.pid").display()),
    ];
    let mut programs = Programs::default();
    programs.rtpengine(interfaces.iter().chain(&media), ng, dir);
    programs.kamailio(&config, edge, dir);
    programs
}

/// What the command says of these rules, and Kamailio of itself.
fn play(rules: &[&str]) -> (Output, String) {
    let dir = TempDir::with_prefix("trunkgate-").unwrap();
    let (place, pki) = (Place::new(), Pki::create(&dir.path().join("pki")).unwrap());
    let teams = pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
    let _programs = start(place, &pki, dir.path());
    let names: Vec<_> = (PROXY..PROXY + 3).map(|host| place.ip(host).to_string()).collect();
    let mut command = Command::new(binary());
    command
        .args(["lab", "conformance", "--json", "--base", "sbc.test", "--patience", "12"])
        .args(["--target", &place.at(EDGE, 5061).to_string(), "--teams", &names.join(",")])
        .arg("--certificate")
        .arg(&teams.certificate)
        .arg("--key")
        .arg(&teams.key)
        .arg("--roots")
        .arg(pki.roots_path())
        .args(["--trunk", &place.at(CARRIER_SIDE, 5060).to_string()])
        .args(["--carrier", &place.at(CARRIER_A, 5060).to_string()])
        .args(["--tenant", "t001.sbc.test=+15550010000"]);
    for rule in rules {
        command.args(["--rule", rule]);
    }
    let output = command.output().expect("the program starts");
    let log = fs::read_to_string(dir.path().join("kamailio.log")).unwrap_or_default();
    (output, log)
}

/// The names of Teams want an FQDN in Contact and get an address or nothing; REFER goes on to the trunk, which cannot know
/// what to do with it; of two keys the first is answered, not the one that Teams takes. Statuses and RTCP are as they should
/// be.
#[test]
fn the_known_faults_of_a_plain_proxy_are_found_and_no_others_of_these() {
    let _watchdog = Watchdog::start("conformance_kamailio", Duration::from_secs(300));
    let expected = [
        ("TR-002", "broken", "no Contact"),
        ("TR-003", "broken", "no Contact"),
        ("TR-017", "broken", "an address in Contact"),
        ("TR-018", "not judged", "it takes"),
        ("TR-037", "kept", ""),
        ("TR-045", "broken", "tag 0 is answered"),
        ("TR-048", "kept", ""),
        ("TR-062", "broken", "REFER is relayed to the trunk"),
    ];
    let rules = expected.map(|(rule, ..)| rule);
    // A Kamailio that has spoilt its own memory (see its configuration) is nobody's SBC: it is played anew.
    let mut plays = std::iter::repeat_with(|| play(&rules)).take(PLAYS);
    let sound = plays.find(|(_, log)| !log.contains("BUG: "));
    let (output, log) = sound.expect("a Kamailio whose memory is sound");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    let report = report.as_array().unwrap();
    assert_eq!(report.len(), expected.len());
    for (entry, (rule, verdict, reason)) in report.iter().zip(expected) {
        let judged = (entry["rule"].as_str(), entry["verdict"].as_str());
        let ladder = entry["ladder"].as_str().unwrap_or_default();
        assert_eq!(judged, (Some(rule), Some(verdict)), "{told}\n{ladder}\n{log}");
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}\n{told}");
        // What is broken is shown.
        assert_eq!(entry["ladder"].is_string(), verdict == "broken", "{entry}");
        // Whoever's SBC it is: no test of ours shows it.
        assert!(entry["test"].is_null());
    }
    assert_eq!(output.status.code(), Some(1));
}

/// So often in a row it did not happen yet.
const PLAYS: usize = 3;

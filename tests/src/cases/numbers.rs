//! Numbers as they are dialled in each country, read as libphonenumber reads them: its own examples, through the binary.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crate::harness::dialog::{Dialog, Invite};
use crate::harness::media::MediaEnd;
use crate::harness::peer::{peers_dir, python};
use crate::harness::place::{CARRIER_A, CARRIER_B};
use crate::harness::scene::Scene;

/// ISO 3166 code, digits as dialled, E.164.
fn examples() -> Vec<[String; 3]> {
    let out = Command::new(python()).arg(peers_dir().join("numbers/examples.py")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let line = |line: &str| {
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        cells.try_into().unwrap()
    };
    text.lines().map(line).collect()
}

/// Toll-free and special numbers behind 8, which the port takes for numbers of no country.
const KNOWN: [(&str, &str); 5] = [
    ("BY", "88011234567"),
    ("KZ", "88001234567"),
    ("KZ", "88091234567"),
    ("RU", "88001234567"),
    ("RU", "88091234567"),
];

/// A trunk for each country, told apart by the host of the Request-URI; what it dials goes out by another trunk in E.164.
#[test]
fn numbers_of_every_country_are_read_as_libphonenumber_reads_them() {
    let examples = examples();
    let countries: BTreeMap<&str, usize> = examples.iter().fold(BTreeMap::new(), |mut all, one| {
        *all.entry(one[0].as_str()).or_default() += 1;
        all
    });
    assert!(countries.len() > 200 && examples.len() > 1000, "{} examples", examples.len());
    let mut scene = Scene::within("numbers_of_every_country", Duration::from_secs(180));
    let near = scene.place.ip(CARRIER_A);
    for country in countries.keys() {
        scene.trunk_text(&format!(
            "name = \"{country}\"\ncountry = \"{country}\"\nnetworks = [\"{near}/32\"]\n\
             peers = [\"udp:{near}:5060\"]\nmatch = {{ uri_host = \"{country}.test\" }}\n\
             barred = []\ntrunks = [\"out\"]\n"
        ));
    }
    scene.trunk("out", "udp", CARRIER_B, "");
    let (dialling, out) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let _gateway = scene.start();
    let sdp = MediaEnd::new(near, 7402).plain_sdp("sendrecv");
    let (mut wrong, mut known) = (Vec::new(), 0);
    for [country, dialled, number] in &examples {
        let uri = format!("sip:{dialled}@{country}.test");
        let from = format!("<sip:+442079460000@{near}>");
        let to = format!("<{uri}>");
        let invite = Invite { uri: &uri, from: &from, to: &to, extra: "", sdp: &sdp };
        let mut call = Dialog::invite(&dialling.persona, &dialling.flow, &invite);
        let (invite, callee) = out.invited();
        callee.reply(&invite, "486 Busy Here", "", "");
        let read = invite.msg.uri();
        if KNOWN.contains(&(country.as_str(), dialled.as_str())) {
            known += 1;
            assert!(!read.starts_with(&format!("sip:{number}@")), "{dialled} is read now");
        } else if !read.starts_with(&format!("sip:{number}@")) {
            wrong.push(format!("{country}: {dialled} is {number}, was read as {read}"));
        }
        assert_eq!(call.final_response().msg.status(), 486);
        call.ack_failure();
    }
    println!("{} examples of {} countries", examples.len(), countries.len());
    assert_eq!(known, KNOWN.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

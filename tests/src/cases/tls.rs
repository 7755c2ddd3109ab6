//! TLS at the wire: who is let in, whom we call, what we show (TR-009 to TR-013).

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::pki::{Identity, KeyKind, Leaf, Usage, Validity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, RsaKeySize};

use crate::harness::place::{EDGE, PROXY, STRANGER};
use crate::harness::scene::{FQDN, PROXIES, Scene, Teams, options_without_contact};
use crate::harness::tls;
use crate::harness::wire::{End, Inbox, SOON};

/// Whether an OPTIONS over a connection with that certificate is answered; false: the connection
/// was refused or closed.
fn let_in(scene: &Scene, teams: &Teams, identity: Option<&Identity>) -> bool {
    let client = tls::client(identity, &scene.ca());
    let (from, edge) = (scene.place.ip(PROXY), scene.place.at(EDGE, 5061));
    let Ok(flow) = teams.end.connect_tls(from, edge, FQDN, &client) else { return false };
    let call_id = format!("let-in-{}", flow.local().port());
    // TLS 1.3 tells a client only afterwards that its certificate was refused.
    let text = format!(
        "OPTIONS sip:{FQDN}:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bK{call_id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:sip.teams.test:5061>;tag=1\r\nTo: <sip:{FQDN}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:sip.teams.test:5061>\r\nContent-Length: 0\r\n\r\n"
    );
    drop(flow.try_send(text.as_bytes()));
    let end = Instant::now() + Duration::from_secs(4);
    loop {
        if teams.inbox.find(Duration::from_millis(20), |r| r.msg.call_id() == call_id).is_some() {
            return true;
        }
        if flow.is_closed() {
            return false;
        }
        assert!(Instant::now() < end, "neither answered nor closed");
    }
}

#[test]
fn tr_009_no_certificate_or_an_untrusted_one_is_refused() {
    let scene = Scene::usual("tr_009");
    let teams = scene.teams();
    let _gateway = scene.start();
    let leaf = || Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
    let issue = |name: &str, leaf: &Leaf| scene.pki.issue(name, leaf).unwrap();
    assert!(!let_in(&scene, &teams, None), "without a certificate");
    let rogue = issue("rogue", &leaf().rogue());
    assert!(!let_in(&scene, &teams, Some(&rogue)), "from an untrusted root");
    let expired = issue("expired", &leaf().validity(Validity::Expired));
    assert!(!let_in(&scene, &teams, Some(&expired)), "expired");
    assert!(let_in(&scene, &teams, Some(&issue("good", &leaf()))), "a good one, afterwards");
}

#[test]
fn tr_010_every_extended_key_usage_is_accepted() {
    let scene = Scene::usual("tr_010");
    let teams = scene.teams();
    let _gateway = scene.start();
    for (name, usage) in [
        ("server", Usage::ServerOnly),
        ("client", Usage::ClientOnly),
        ("both", Usage::Both),
        ("none", Usage::None),
    ] {
        let leaf = Leaf::teams("teams.test").key(KeyKind::EcdsaP256).usage(usage);
        let identity = scene.pki.issue(name, &leaf).unwrap();
        assert!(let_in(&scene, &teams, Some(&identity)), "{name}");
    }
}

#[test]
fn tr_010_also_with_rsa_over_tls_1_2() {
    let mut scene = Scene::usual("tr_010_rsa");
    let gateway = scene.pki.issue("rsa", &Leaf::gateway(FQDN)).unwrap();
    scene.certificate(&gateway);
    let teams = scene.teams();
    let _gateway = scene.start();
    let leaf = Leaf::teams("teams.test").usage(Usage::ServerOnly);
    let identity = scene.pki.issue("server", &leaf).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = tls::client_of(Some(&identity), &scene.ca(), &[version]);
        let edge = scene.place.at(EDGE, 5061);
        let flow = teams.end.connect_tls(scene.place.ip(PROXY), edge, FQDN, &client).unwrap();
        let call_id = teams.ping(&flow, FQDN);
        teams.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == call_id);
    }
}

#[test]
fn tr_011_the_name_must_be_that_of_teams() {
    let scene = Scene::usual("tr_011");
    let teams = scene.teams();
    let _gateway = scene.start();
    for name in ["sip2.teams.test", "teams.test", "sip.teams.test.evil.test", "evil.test"] {
        let leaf = Leaf::new([name]).key(KeyKind::EcdsaP256);
        let identity = scene.pki.issue("other", &leaf).unwrap();
        assert!(!let_in(&scene, &teams, Some(&identity)), "{name}");
    }
    let leaf = Leaf::new(["front.teams.test", "sip.teams.test"]).key(KeyKind::EcdsaP256);
    let identity = scene.pki.issue("several", &leaf).unwrap();
    assert!(let_in(&scene, &teams, Some(&identity)), "one of several names");
}

/// The same when we dial: a proxy of another name or root gets no message.
#[test]
fn tr_011_a_proxy_that_is_not_teams_is_told_nothing() {
    for (test, leaf) in [
        ("wrong name", Leaf::new(["evil.test"])),
        ("wrong root", Leaf::teams("teams.test").rogue()),
    ] {
        let scene = Scene::usual("tr_011_server");
        let identity = scene.pki.issue("proxy", &leaf.key(KeyKind::EcdsaP256)).unwrap();
        let server = tls::server(&identity, &scene.ca());
        let teams = Teams::start(&scene, 1, Box::new(options_without_contact), &identity, server);
        let _gateway = scene.start();
        let end = Instant::now() + Duration::from_secs(3);
        while teams.inbox.refusals().is_empty()
            && teams.inbox.flows().iter().all(|f| !f.is_closed())
        {
            assert!(Instant::now() < end, "{test}: the gateway neither came nor went");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(teams.inbox.all().is_empty(), "{test}: {}", teams.inbox.transcript());
    }
}

#[test]
fn tr_012_server_certificates_under_every_kind_of_root() {
    let mut scene = Scene::usual("tr_012");
    scene.proxies(3);
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
    let roots = [
        ("rsa-2048", rsa(RsaKeySize::_2048)),
        ("rsa-4096", rsa(RsaKeySize::_4096)),
        ("p-384", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()),
    ];
    let mut trusted = fs::read_to_string(scene.ca()).unwrap();
    let inbox = Inbox::new("teams", Box::new(options_without_contact));
    let mut end = End::new(Arc::clone(&inbox));
    for (host, (kind, key)) in (PROXY..).zip(roots) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, kind);
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        trusted += &root.pem();
        let leaf_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(PROXIES.map(str::to_owned)).unwrap();
        let leaf = params.signed_by(&leaf_key, &root).unwrap();
        let path = scene.dir().join("pki").join(kind);
        fs::write(path.with_extension("pem"), leaf.pem()).unwrap();
        fs::write(path.with_extension("key"), leaf_key.serialize_pem()).unwrap();
        let identity = Identity::open(&scene.dir().join("pki"), kind).unwrap();
        end.listen_tls(scene.place.at(host, 5061), tls::server(&identity, &scene.ca()));
    }
    let all_roots = scene.dir().join("roots.pem");
    fs::write(&all_roots, trusted).unwrap();
    scene.roots(all_roots);
    let _gateway = scene.start();
    inbox.until("an OPTIONS at each proxy", Duration::from_secs(4), |all, _| {
        (PROXY..PROXY + 3).all(|host| {
            all.iter()
                .any(|r| r.flow.local().ip() == scene.place.ip(host) && r.msg.method() == "OPTIONS")
        })
    });
}

#[test]
fn tr_013_the_client_certificate_comes_with_its_intermediate_and_sni() {
    let scene = Scene::usual("tr_013");
    let teams = scene.teams();
    let _gateway = scene.start();
    teams.inbox.until("a connection", SOON, |_, flows| !flows.is_empty());
    let flows = teams.inbox.flows();
    let facts = flows[0].tls();
    assert_eq!(facts.sni.as_deref(), Some("sip.teams.test"));
    assert_eq!(facts.chain, tls::chain(&scene.dir().join("pki/gateway.pem")));
    assert_eq!(facts.chain.len(), 2, "leaf and intermediate");
}

/// The edge shows the same chain to whoever dials, for the base name and for a tenant's.
#[test]
fn tr_013_the_server_certificate_covers_every_tenant() {
    let scene = Scene::usual("tr_013_server");
    let teams = scene.teams();
    let _gateway = scene.start();
    for name in [FQDN, "t001.sbc.test"] {
        // The raw client verifies chain and name.
        let flow = teams.connect(name);
        assert_eq!(flow.tls().chain.len(), 2);
    }
}

/// TR-016: an address outside the ACL is dropped before TLS.
#[test]
fn tr_016_strangers_get_no_handshake() {
    let mut scene = Scene::usual("tr_016");
    scene.restrict_teams_to(PROXY);
    let teams = scene.teams();
    let _gateway = scene.start();
    let edge = scene.place.at(EDGE, 5061);
    let refused = teams.end.connect_tls(scene.place.ip(STRANGER), edge, FQDN, &teams.client);
    assert!(refused.is_err(), "a stranger was let in");
    teams.connect(FQDN);
}

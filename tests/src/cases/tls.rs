//! TLS at the wire: in which suites, who is let in, whom we call, what we show (TR-008 to TR-013, AT-17).

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::pki::{Identity, KeyKind, Leaf, Usage, Validity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, RsaKeySize};
use rustls::CipherSuite;

use crate::harness::media::MediaEnd;
use crate::harness::openssl::{Client, Hello, hello};
use crate::harness::place::{CARRIER_A, EDGE, PROXY, STRANGER};
use crate::harness::raw::options;
use crate::harness::scene::{FQDN, PROXIES, Scene, Teams, options_without_contact};
use crate::harness::talking::{CALLED, CALLER};
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

/// As a server: TLS 1.1 and 3DES are refused, each suite of the rule is taken, with the kind of key that it wants.
#[test]
fn tr_008_old_versions_and_3des_are_refused_and_each_gcm_suite_is_taken() {
    let (tls_1_1, tls_1_2) = (0x0302, 0x0303);
    for (key, kind, suites) in [
        (KeyKind::Rsa2048, "RSA", [0xc02f_u16, 0xc030]),
        (KeyKind::EcdsaP256, "ECDSA", [0xc02b, 0xc02c]),
    ] {
        let mut scene = Scene::usual("tr_008");
        let own = scene.pki.issue("own", &Leaf::gateway(FQDN).key(key)).unwrap();
        scene.certificate(&own);
        let gateway = scene.start();
        for suite in suites {
            assert_eq!(hello(&scene, tls_1_2, &[suite]), Hello::Chosen(suite), "{kind}");
            // The last word of an old client is not heard among many.
            assert_eq!(hello(&scene, tls_1_2, &[0x000a, 0xc012, suite]), Hello::Chosen(suite));
            assert_eq!(hello(&scene, tls_1_1, &[suite]), Hello::Alert(2, 70), "protocol_version");
        }
        // RSA, ECDHE-RSA and ECDHE-ECDSA with 3DES.
        for weak in [0x000a, 0xc012, 0xc008] {
            assert_eq!(hello(&scene, tls_1_2, &[weak]), Hello::Alert(2, 40), "{weak:04x}");
        }
        // To the end, with SIP in it.
        let identity = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
        for (option, cipher) in [
            ("-cipher", format!("ECDHE-{kind}-AES256-GCM-SHA384")),
            ("-cipher", format!("ECDHE-{kind}-AES128-GCM-SHA256")),
            ("-ciphersuites", "TLS_AES_256_GCM_SHA384".to_owned()),
            ("-ciphersuites", "TLS_AES_128_GCM_SHA256".to_owned()),
        ] {
            let version = if option == "-cipher" { "-tls1_2" } else { "-tls1_3" };
            let arguments = [version, option, &cipher, "-nocommands", "-ign_eof"];
            let mut client = Client::start(&scene, &identity, &arguments);
            client.says(&format!("Cipher is {cipher}"));
            client.write(options(scene.place.at(PROXY, 5061), "TLS", &cipher).as_bytes());
            client.says("SIP/2.0 200");
        }
        let refused = "trunkgate_connections_refused_total{cause=\"tls_version\"}";
        gateway.until("counted", || gateway.count(refused) >= 2.0);
    }
}

/// As a client: a proxy that takes one suite only is reached by each of them.
#[test]
fn tr_008_a_proxy_of_one_suite_is_reached() {
    for suite in [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ] {
        let scene = Scene::usual("tr_008_client");
        let ecdsa = format!("{suite:?}").contains("ECDSA");
        let key = if ecdsa { KeyKind::EcdsaP256 } else { KeyKind::Rsa2048 };
        let identity = scene.pki.issue("proxy", &Leaf::teams("teams.test").key(key)).unwrap();
        let server = tls::server_of(&identity, &scene.ca(), suite);
        let teams = Teams::start(&scene, 1, Box::new(options_without_contact), &identity, server);
        let _gateway = scene.start();
        teams.inbox.until(&format!("OPTIONS in {suite:?}"), SOON, |all, _| {
            all.iter().any(|r| r.msg.is_request() && r.msg.method() == "OPTIONS")
        });
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

/// Who stands at a proxy's address and is not the proxy gets no SIP; the call goes by the next of sip, sip2, sip3. Whether
/// a certificate was revoked is not asked (RFC 6960 names nobody to ask on a network without a way to the CA).
#[test]
fn at_17_a_false_proxy_is_told_nothing_and_the_next_one_gets_the_call() {
    let leaf = || Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
    let named = |name: &str| Leaf::new([name]).key(KeyKind::EcdsaP256);
    let cases = [
        ("rogue CA", leaf().rogue()),
        ("another name", named("sip.evil.test")),
        ("a name that begins like it", named("sip.teams.test.evil.test")),
        ("a name that ends like it", named("evilsip.teams.test")),
        ("expired", leaf().validity(Validity::Expired)),
        ("not yet", leaf().validity(Validity::NotYet)),
        ("for clients only", leaf().usage(Usage::ClientOnly)),
    ];
    for (at, (kind, wrong)) in cases.into_iter().enumerate() {
        // One false proxy, or two.
        let count = 1 + u8::try_from(at % 2).unwrap();
        let mut scene = Scene::usual("at_17");
        scene.proxies(3);
        let issue = |name: &str, leaf: &Leaf| scene.pki.issue(name, leaf).unwrap();
        let (false_one, good) = (issue("false", &wrong), issue("good", &leaf()));
        let start = |identity: &Identity, hosts: std::ops::Range<u8>| {
            let server = tls::server(identity, &scene.ca());
            let mut teams = Teams::start(
                &scene,
                0,
                Box::new(options_without_contact),
                identity,
                server.clone(),
            );
            for host in hosts {
                teams.end.listen_tls(scene.place.at(host, 5061), server.clone());
            }
            teams
        };
        let liar = start(&false_one, PROXY..PROXY + count);
        let teams = start(&good, PROXY + count..PROXY + 3);
        let carrier = scene.carrier_udp(CARRIER_A);
        let gateway = scene.start();
        // At once, before OPTIONS have told; and when they have.
        for round in 0..2 {
            let media = MediaEnd::new(carrier.ip(), 7000);
            let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
            let (invite, callee) = teams.invited();
            let by = invite.flow.local().ip();
            assert_eq!(by, scene.place.ip(PROXY + count), "{kind}, {round}");
            callee.is_busy(&invite, &mut caller);
            gateway.until("a refusal of each", || {
                gateway.count("trunkgate_connections_refused_total{cause=\"untrusted\"}")
                    >= f64::from(count)
            });
        }
        assert!(liar.inbox.all().is_empty(), "{kind}: {}", liar.inbox.transcript());
        assert!(!liar.inbox.flows().is_empty() || !liar.inbox.refusals().is_empty(), "{kind}");
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

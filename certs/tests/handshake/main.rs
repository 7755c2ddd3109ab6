//! Whole TLS handshakes in memory: our settings on one side, plain rustls on the other.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod pki;

use std::sync::Arc;

use certs::{
    ClientAuth, ClientVerifier, Identities, ServerVerifier, Verdicts, client_config, server_config,
};
use pki::{Authority, Kind, Leaf};
use rcgen::ExtendedKeyUsagePurpose::{self, ClientAuth as ForClients, ServerAuth as ForServers};
use rustls::Error::InvalidCertificate;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

const TEAMS: &str = "sip.teams.test";
const SBC: &str = "sbc.test";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Two connections whose handshake is complete.
struct Shaken {
    client: ClientConnection,
    server: ServerConnection,
}

/// Which side refused, and why.
#[derive(Debug)]
enum Refused {
    ByClient(rustls::Error),
    ByServer(rustls::Error),
}

/// Carries records between the two until both are done or one of them refuses.
fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<Shaken, Refused> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    for _ in 0..10 {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets().map_err(Refused::ByServer)?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets().map_err(Refused::ByClient)?;
        }
        wire.clear();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Shaken { client, server })
}

/// A plain client that trusts `roots` and shows `leaf` when asked.
fn plain_client(
    version: &'static SupportedProtocolVersion,
    roots: &Authority,
    leaf: Option<&Leaf>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.roots().store());
    Arc::new(match leaf {
        Some(leaf) => builder
            .with_client_cert_resolver(Identities::new(Arc::new(leaf.identity()), Vec::new())),
        None => builder.with_no_client_auth(),
    })
}

/// A plain server that shows `leaf` and asks for any certificate below `roots`.
fn plain_server(
    version: &'static SupportedProtocolVersion,
    roots: &Authority,
    leaf: &Leaf,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.roots().store(), provider.clone())
            .build()
            .unwrap();
    let own = Identities::new(Arc::new(leaf.identity()), Vec::new());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    Arc::new(config)
}

/// Our listener for clients of the name [`TEAMS`] below `trusted`, with our leaf from `issuer`.
fn our_listener(
    trusted: &Authority,
    issuer: &Authority,
) -> (Arc<ServerConfig>, Arc<ClientVerifier>) {
    let verifier = ClientVerifier::new(&trusted.roots(), &[TEAMS]).unwrap();
    let own = issuer.leaf(&[SBC, "*.sbc.test"], &[ForServers]).identity();
    let own = Identities::new(Arc::new(own), Vec::new());
    (server_config(own, ClientAuth::Required(Arc::clone(&verifier))), verifier)
}

/// Our side as client of servers with the name [`TEAMS`] below `trusted`.
fn our_client(trusted: &Authority, own: &Leaf) -> (Arc<ClientConfig>, Arc<ServerVerifier>) {
    let verifier = ServerVerifier::new(&trusted.roots(), &[TEAMS]).unwrap();
    let own = Identities::new(Arc::new(own.identity()), Vec::new());
    (client_config(Some(own), Arc::clone(&verifier)), verifier)
}

#[test]
fn tr_009_client_without_certificate_is_refused() {
    let root = Authority::root("root", Kind::P256);
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        let refused = shake(plain_client(version, &root, None), listener, SBC).err().unwrap();
        assert!(
            matches!(refused, Refused::ByServer(rustls::Error::NoCertificatesPresented)),
            "{version:?}: {refused:?}"
        );
        assert_eq!(verifier.verdicts(), Verdicts::default());
    }
}

#[test]
fn tr_009_client_from_a_rogue_root_is_refused() {
    let (root, rogue) = (Authority::root("root", Kind::P256), Authority::root("root", Kind::P256));
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        let leaf = rogue.leaf(&[TEAMS], &[ForServers, ForClients]);
        let refused = shake(plain_client(version, &root, Some(&leaf)), listener, SBC);
        assert!(matches!(refused, Err(Refused::ByServer(_))), "{version:?}");
        let counted = verifier.verdicts();
        assert_eq!((counted.accepted, counted.untrusted + counted.damaged), (0, 1), "{version:?}");
    }
}

#[test]
fn tr_010_client_certificates_of_every_usage_are_accepted() {
    let root = Authority::root("root", Kind::P256);
    let issuing = root.intermediate("issuing", Kind::P256);
    let usages: [&[ExtendedKeyUsagePurpose]; 4] =
        [&[ForServers], &[ForClients], &[ForServers, ForClients], &[]];
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        for usage in usages {
            let leaf = issuing.leaf(&[TEAMS], usage);
            let client = plain_client(version, &root, Some(&leaf));
            let shaken = shake(client, Arc::clone(&listener), SBC);
            let shaken = shaken.unwrap_or_else(|why| panic!("{version:?} {usage:?}: {why:?}"));
            assert_eq!(shaken.server.protocol_version(), Some(version.version));
        }
        assert_eq!(verifier.verdicts(), Verdicts { accepted: 4, ..Verdicts::default() });
    }
}

#[test]
fn a_certificate_for_neither_servers_nor_clients_is_refused() {
    let root = Authority::root("root", Kind::P256);
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        let leaf = root.leaf(&[TEAMS], &[ExtendedKeyUsagePurpose::CodeSigning]);
        let refused = shake(plain_client(version, &root, Some(&leaf)), listener, SBC);
        assert!(matches!(refused, Err(Refused::ByServer(_))));
        assert_eq!(verifier.verdicts(), Verdicts { wrong_purpose: 1, ..Verdicts::default() });
    }
}

#[test]
fn tr_011_client_of_a_wrong_name_is_refused() {
    let root = Authority::root("root", Kind::P256);
    let wrong: [&[&str]; 4] =
        [&["sip.other.test"], &["a.sip.teams.test"], &["teams.test"], &["*.sip.teams.test"]];
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        for names in wrong {
            let leaf = root.leaf(names, &[ForServers]);
            let client = plain_client(version, &root, Some(&leaf));
            let refused = shake(client, Arc::clone(&listener), SBC);
            assert!(matches!(refused, Err(Refused::ByServer(_))), "{version:?} {names:?}");
        }
        assert_eq!(verifier.verdicts(), Verdicts { wrong_name: 4, ..Verdicts::default() });
    }
}

#[test]
fn tr_011_the_name_may_stand_anywhere_or_under_a_wildcard() {
    let root = Authority::root("root", Kind::P256);
    let (listener, _) = our_listener(&root, &root);
    for names in [&["a.test", TEAMS][..], &["*.teams.test"], &["SIP.Teams.TEST"]] {
        let leaf = root.leaf(names, &[ForServers]);
        let client = plain_client(&rustls::version::TLS13, &root, Some(&leaf));
        assert!(shake(client, Arc::clone(&listener), SBC).is_ok(), "{names:?}");
    }
}

#[test]
fn an_expired_client_certificate_is_refused() {
    let root = Authority::root("root", Kind::P256);
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        let leaf = root.expired(&[TEAMS]);
        let refused = shake(plain_client(version, &root, Some(&leaf)), listener, SBC);
        assert!(matches!(refused, Err(Refused::ByServer(_))));
        assert_eq!(verifier.verdicts(), Verdicts { out_of_date: 1, ..Verdicts::default() });
    }
}

#[test]
fn a_client_of_any_name_passes_where_only_the_chain_counts() {
    let root = Authority::root("root", Kind::P256);
    let own = root.leaf(&[SBC], &[ForServers]).identity();
    let own = Identities::new(Arc::new(own), Vec::new());
    let verifier = ClientVerifier::any_name(&root.roots());
    let listener = server_config(own, ClientAuth::Required(verifier));
    let leaf = root.leaf(&["pbx.carrier.test"], &[ForClients]);
    let client = plain_client(&rustls::version::TLS12, &root, Some(&leaf));
    assert!(shake(client, listener, SBC).is_ok());
}

#[test]
fn a_listener_that_asks_for_no_certificate_takes_clients_without() {
    let root = Authority::root("root", Kind::P256);
    let own = root.leaf(&[SBC], &[ForServers]).identity();
    let listener = server_config(Identities::new(Arc::new(own), Vec::new()), ClientAuth::None);
    let client = plain_client(&rustls::version::TLS13, &root, None);
    assert!(shake(client, listener, SBC).is_ok());
}

#[test]
fn tr_012_servers_below_every_kind_of_root_are_accepted() {
    for kind in [Kind::Rsa2048, Kind::Rsa4096, Kind::P384, Kind::P256] {
        let root = Authority::root("root", kind);
        let issuing = root.intermediate("issuing", kind);
        let mut leaves = vec![issuing.leaf(&[TEAMS], &[ForServers])];
        leaves.push(issuing.leaf_of(Kind::Rsa2048, &[TEAMS]));
        for (leaf, version) in leaves.iter().flat_map(|leaf| VERSIONS.map(|v| (leaf, v))) {
            let own = root.leaf(&[SBC], &[ForServers, ForClients]);
            let (client, verifier) = our_client(&root, &own);
            let shaken = shake(client, plain_server(version, &root, leaf), TEAMS);
            let shaken = shaken.unwrap_or_else(|why| panic!("{kind:?} {version:?}: {why:?}"));
            assert_eq!(shaken.client.protocol_version(), Some(version.version));
            assert_eq!(verifier.verdicts().accepted, 1);
        }
    }
}

#[test]
fn tr_012_clients_below_every_kind_of_root_are_accepted() {
    for kind in [Kind::Rsa2048, Kind::Rsa4096, Kind::P384] {
        let root = Authority::root("root", kind);
        let leaf = root.intermediate("issuing", kind).leaf_of(Kind::Rsa2048, &[TEAMS]);
        for version in VERSIONS {
            let (listener, _) = our_listener(&root, &root);
            let shaken = shake(plain_client(version, &root, Some(&leaf)), listener, SBC);
            assert!(shaken.is_ok(), "{kind:?} {version:?}");
        }
    }
}

#[test]
fn servers_with_a_wrong_name_root_or_date_are_refused() {
    let (root, rogue) = (Authority::root("root", Kind::P256), Authority::root("x", Kind::P256));
    let own = root.leaf(&[SBC], &[ForServers, ForClients]);
    for version in VERSIONS {
        let (client, verifier) = our_client(&root, &own);
        let bad = [
            root.leaf(&["sip.other.test"], &[ForServers]),
            rogue.leaf(&[TEAMS], &[ForServers]),
            root.expired(&[TEAMS]),
            root.leaf(&[TEAMS], &[ForClients]),
        ];
        for leaf in &bad {
            let server = plain_server(version, &root, leaf);
            let refused = shake(Arc::clone(&client), server, TEAMS);
            assert!(matches!(refused, Err(Refused::ByClient(InvalidCertificate(_)))));
        }
        let counted = verifier.verdicts();
        let expected = Verdicts {
            wrong_name: 1,
            untrusted: 1,
            out_of_date: 1,
            wrong_purpose: 1,
            ..Verdicts::default()
        };
        assert_eq!(counted, expected);
    }
}

#[test]
fn a_configured_name_is_enough_whatever_was_dialled() {
    let root = Authority::root("root", Kind::P256);
    let own = root.leaf(&[SBC], &[ForServers, ForClients]);
    let server = plain_server(&rustls::version::TLS12, &root, &root.leaf(&[TEAMS], &[ForServers]));
    let (client, _) = our_client(&root, &own);
    assert!(shake(client, server, "sip2.teams.test").is_ok());
}

#[test]
fn a_server_checked_as_dialled_must_have_that_name_or_address() {
    let root = Authority::root("root", Kind::P256);
    let leaf = root.leaf(&["pbx.carrier.test", "127.0.0.50"], &[ForServers]);
    let own = root.leaf(&[SBC], &[ForClients]).identity();
    let own = Identities::new(Arc::new(own), Vec::new());
    let client = client_config(Some(own), ServerVerifier::as_dialled(&root.roots()));
    let dial = |name| {
        let server = plain_server(&rustls::version::TLS13, &root, &leaf);
        shake(Arc::clone(&client), server, name)
    };
    assert!(dial("pbx.carrier.test").is_ok());
    assert!(dial("127.0.0.50").is_ok());
    assert!(matches!(dial("other.carrier.test"), Err(Refused::ByClient(_))));
    assert!(matches!(dial("127.0.0.51"), Err(Refused::ByClient(_))));
}

#[test]
fn tr_013_we_send_name_certificate_and_intermediates() {
    let root = Authority::root("root", Kind::P256);
    let own = root.intermediate("issuing", Kind::P256).leaf(&[SBC], &[ForServers, ForClients]);
    for version in VERSIONS {
        let server = plain_server(version, &root, &root.leaf(&[TEAMS], &[ForServers]));
        let (client, _) = our_client(&root, &own);
        let shaken = shake(client, server, TEAMS).unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(shaken.server.server_name(), Some(TEAMS));
        assert_eq!(shaken.server.peer_certificates().unwrap(), own.identity().chain());
        assert_eq!(own.identity().chain().len(), 2);
    }
}

#[test]
fn the_gcm_suites_of_tls_1_2_work_one_by_one() {
    let root = Authority::root("root", Kind::Rsa2048);
    let own = root.leaf_of(Kind::Rsa2048, &[SBC]).identity();
    let listener = server_config(Identities::new(Arc::new(own), Vec::new()), ClientAuth::None);
    for suite in [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|offered| offered.suite() == suite);
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(root.roots().store())
            .with_no_client_auth();
        let shaken = shake(Arc::new(client), Arc::clone(&listener), SBC).ok().unwrap();
        assert_eq!(shaken.server.negotiated_cipher_suite().unwrap().suite(), suite);
    }
}

#[test]
fn the_leaf_follows_the_server_name_and_a_replacement() {
    let root = Authority::root("root", Kind::P256);
    let of = |names: &[&str]| Arc::new(root.leaf(names, &[ForServers]).identity());
    let (main, other) = (of(&[SBC, "*.sbc.test"]), of(&["own.tenant.test"]));
    let own = Identities::new(Arc::clone(&main), vec![Arc::clone(&other)]);
    let listener = server_config(Arc::clone(&own), ClientAuth::None);
    let shown = |name: &str| {
        let client = plain_client(&rustls::version::TLS13, &root, None);
        let shaken = shake(client, Arc::clone(&listener), name).ok().unwrap();
        shaken.client.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown("t001.sbc.test"), main.chain()[0]);
    assert_eq!(shown("own.tenant.test"), other.chain()[0]);

    let renewed = of(&[SBC, "*.sbc.test"]);
    own.replace(Arc::clone(&renewed), vec![other]);
    assert_eq!(shown("t001.sbc.test"), renewed.chain()[0]);
}

#[test]
fn a_second_handshake_shows_the_certificate_again() {
    let root = Authority::root("root", Kind::P256);
    for version in VERSIONS {
        let (listener, verifier) = our_listener(&root, &root);
        let leaf = root.leaf(&[TEAMS], &[ForServers]);
        let client = plain_client(version, &root, Some(&leaf));
        for _ in 0..2 {
            let shaken = shake(Arc::clone(&client), Arc::clone(&listener), SBC).ok().unwrap();
            assert_eq!(shaken.server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
        assert_eq!(verifier.verdicts().accepted, 2);
    }
}

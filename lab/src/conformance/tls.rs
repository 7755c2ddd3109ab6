//! TLS and certificates: TR-008 to TR-016.

use std::future::ready;
use std::net::IpAddr;

use rustls::CipherSuite;

use super::bench::{Bench, Judged, Trouble, ensure};
use super::rule::Rule;
use crate::clock;
use crate::pki::{Identity, KeyKind, Leaf, Usage};
use crate::wire::knock::{Door, Manner};

pub(crate) static RULES: [Rule; 9] = [
    Rule::played(
        8,
        "TLS 1.1 and 3DES are refused; each of the GCM suites is taken",
        |bench| Box::pin(suites(bench)),
    ),
    Rule::played(9, "A TLS client without certificate, or of an untrusted root, is refused", |bench| {
        Box::pin(strange_clients(bench))
    }),
    Rule::played(
        10,
        "A TLS client certificate with serverAuth, clientAuth, both or neither is accepted",
        |bench| Box::pin(usages(bench)),
    ),
    Rule::played(11, "A certificate of the right root without the name of Teams is refused", |bench| {
        Box::pin(wrong_name(bench))
    }),
    Rule::unseen(
        12,
        "Server certificates under every kind of root are accepted; the seven real roots are shipped",
        "it takes roots of each kind in the SBC's trust store",
    )
    .shown_by("tr_012_the_seven_roots_have_their_fingerprints"),
    Rule::played(
        13,
        "The SBC's own handshakes carry its certificate with intermediates, and SNI",
        |bench| Box::pin(ready(own_certificate(bench))),
    ),
    Rule::unseen(
        14,
        "An own certificate that does not cover the name, lacks serverAuth or ends soon is told at the start",
        "what an SBC says of its certificate when it starts is not on the wire",
    )
    .shown_by("tr_014_a_certificate_that_does_not_serve_is_refused_and_one_that_soon_will_not_is_told"),
    Rule::unseen(
        15,
        "A renewed certificate is shown by the next handshake, and cuts no call",
        "only who runs the SBC can renew its certificate",
    )
    .shown_by("tr_015_a_renewed_certificate_is_shown_within_five_seconds_and_cuts_no_call"),
    Rule::played(16, "From an address outside Microsoft's networks no TLS handshake comes about", |bench| {
        Box::pin(stranger(bench))
    }),
];

impl Bench {
    fn door(&self, from: IpAddr) -> Door<'_> {
        let stage = &self.stage;
        Door { from, to: stage.edge, name: &stage.base, roots: &stage.roots }
    }

    fn first_home(&self) -> IpAddr {
        self.stage.teams.homes()[0].address.ip()
    }

    fn options_text(&self) -> Vec<u8> {
        let (stage, token) = (&self.stage, clock::token::<8>());
        let (base, domain, port) = (&stage.base, &stage.domain, stage.edge.port());
        format!(
            "OPTIONS sip:{base}:{port};transport=tls SIP/2.0\r\n\
             VIA: SIP/2.0/TLS sip.{domain}:5061;branch=z9hG4bK{token}\r\nMAX-FORWARDS: 70\r\n\
             FROM: <sip:sip.{domain}:5061>;tag={token}\r\nTO: <sip:{base}>\r\nCALL-ID: {token}\r\n\
             CSEQ: 1 OPTIONS\r\nCONTACT: <sip:sip.{domain}:5061>\r\nCONTENT-LENGTH: 0\r\n\r\n"
        )
        .into_bytes()
    }

    /// Whether a client with this certificate is let in and answered.
    async fn lets_in(&self, identity: Option<&Identity>, suite: Option<CipherSuite>) -> bool {
        let door = self.door(self.first_home());
        let answer = door.ask(Manner { identity, suite }, &self.options_text()).await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// A certificate that the SBC's roots vouch for.
    fn issue(&self, leaf: &Leaf) -> Result<Identity, Trouble> {
        let pki = self.stage.pki.as_ref();
        let pki = pki.ok_or(Trouble::Unjudged("it takes an authority that the SBC trusts"))?;
        let name = format!("knock-{}", clock::token::<4>());
        pki.issue(&name, &leaf.clone().key(KeyKind::EcdsaP256))
            .map_err(|_| Trouble::Unjudged("the certificate could not be made"))
    }
}

async fn suites(bench: &mut Bench) -> Judged {
    let stage = std::sync::Arc::clone(&bench.stage);
    for (suite, name) in [
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"),
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"),
    ] {
        bench.sent(format!("TLS 1.2 with {name} alone, then OPTIONS"));
        ensure!(bench.lets_in(Some(&stage.identity), Some(suite)).await, "{name} is refused");
        bench.came("a handshake and 200");
    }
    for (version, suites, what) in [
        (0x0302, &[0xc013, 0xc014, 0x002f, 0x0035][..], "TLS 1.1 with AES"),
        (0x0303, &[0x000a, 0xc012], "TLS 1.2 with 3DES"),
    ] {
        bench.sent(format!("a ClientHello of {what} alone"));
        let door = bench.door(bench.first_home());
        let goes_on = door.greet(version, suites).await.unwrap_or(false);
        ensure!(!goes_on, "{what} is accepted");
        bench.came("no ServerHello");
    }
    Ok(())
}

async fn strange_clients(bench: &mut Bench) -> Judged {
    bench.sent("a handshake without client certificate, then OPTIONS");
    ensure!(!bench.lets_in(None, None).await, "a client without certificate is let in");
    bench.came("no answer");
    if bench.stage.pki.is_some() {
        bench.sent("a handshake with a certificate of an unknown root, then OPTIONS");
        let rogue = bench.issue(&Leaf::teams(&bench.stage.domain).rogue())?;
        ensure!(!bench.lets_in(Some(&rogue), None).await, "an unknown root is trusted");
        bench.came("no answer");
    }
    Ok(())
}

async fn usages(bench: &mut Bench) -> Judged {
    for (usage, name) in [
        (Usage::ServerOnly, "serverAuth alone"),
        (Usage::ClientOnly, "clientAuth alone"),
        (Usage::Both, "both"),
        (Usage::None, "none"),
    ] {
        let identity = bench.issue(&Leaf::teams(&bench.stage.domain).usage(usage))?;
        bench.sent(format!("a client certificate with extended key usage: {name}"));
        ensure!(bench.lets_in(Some(&identity), None).await, "refused: {name}");
        bench.came("a handshake and 200");
    }
    Ok(())
}

async fn wrong_name(bench: &mut Bench) -> Judged {
    let identity = bench.issue(&Leaf::new(["sip.elsewhere.test"]))?;
    bench.sent("a client certificate of the right root for sip.elsewhere.test");
    ensure!(!bench.lets_in(Some(&identity), None).await, "it is let in");
    bench.came("no answer");
    Ok(())
}

fn own_certificate(bench: &mut Bench) -> Judged {
    bench.sent("a request for a client certificate in each handshake; only the root is known here");
    let shaken = bench.stage.teams.handshakes();
    let theirs: Vec<_> = shaken.iter().filter(|it| it.inbound).collect();
    ensure!(!theirs.is_empty(), "the SBC opened no TLS session");
    for it in theirs {
        ensure!(it.fault.is_none(), "a handshake of the SBC failed");
        let name = it.name.clone().unwrap_or_default();
        ensure!(name.ends_with(&bench.stage.domain), "SNI {name:?}");
    }
    bench.came("certificate and intermediates that chain to the root, and SNI, in each");
    Ok(())
}

async fn stranger(bench: &mut Bench) -> Judged {
    let stranger = bench.stage.stranger;
    let stranger =
        stranger.ok_or(Trouble::Unjudged("it takes an address that the SBC does not know"))?;
    bench.sent("a ClientHello from an address outside the networks");
    let goes_on = bench.door(stranger).greet(0x0303, &[0xc02f, 0xc030]).await.unwrap_or(false);
    ensure!(!goes_on, "a stranger gets a ServerHello");
    bench.came("no ServerHello");
    Ok(())
}

//! Whose call it is, and who calls: TR-017 to TR-020, TR-022 to TR-024, TR-070.

use std::sync::Arc;

use super::bench::{Bench, CALLER, Judged, LIMIT, Pair, Trouble, WHILE, Way, ensure};
use super::rule::Rule;
use super::stage::Known;
use crate::agent::{Around, Edit, Invite};
use crate::sip::{Direction, Message, host_of, uri_of};

pub(crate) static RULES: [Rule; 8] = [
    Rule::played(
        17,
        "A trunk's call to a tenant: its FQDN in Contact, From and Via of INVITE, ACK, re-INVITE and BYE; Request-URI +E164 with user=phone",
        |bench| Box::pin(one_name(bench)),
    ),
    Rule::played(18, "A number of two tenants: the trunk decides whose it is", |bench| {
        Box::pin(by_trunk(bench))
    }),
    Rule::played(
        19,
        "National numbers become +E164; a called number that is none is refused, a caller that is none is not",
        |bench| Box::pin(numbers(bench)),
    ),
    Rule::played(
        20,
        "From towards Teams carries the number of P-Asserted-Identity; with Privacy: id it is anonymous and no identity leaves",
        |bench| Box::pin(asserted(bench)),
    ),
    Rule::played(
        22,
        "Replaces, ISUP, PIDF and multipart bodies of a trunk do not reach Teams",
        |bench| Box::pin(kept_away(bench)),
    ),
    Rule::played(
        23,
        "The Request-URI of Teams chooses the tenant and its trunk; an unknown name is 403 or 404, without a call",
        |bench| Box::pin(by_uri(bench)),
    ),
    Rule::played(
        24,
        "ACK, re-INVITE and BYE go to the Contact of Teams byte for byte, by its Record-Route",
        |bench| Box::pin(echoed(bench)),
    ),
    Rule::played(
        70,
        "Privacy: id of Teams: the trunk sees an anonymous From; the asserted number goes to trusted trunks alone",
        |bench| Box::pin(private(bench)),
    ),
];

impl Bench {
    /// What is set up so only in front of our own gateway.
    pub(crate) fn known(&self, why: &'static str) -> Result<&Known, Trouble> {
        self.stage.known.as_ref().ok_or(Trouble::Unjudged(why))
    }
}

/// A hold of the trunk, its end, and a BYE of the trunk: every kind of request reaches Teams.
async fn course(pair: &mut Pair) -> Judged {
    pair.reoffer(Way::In, Direction::SendOnly).await?;
    pair.reoffer(Way::In, Direction::SendRecv).await?;
    pair.end(Way::In).await
}

async fn one_name(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk, held, resumed and ended by it");
    let mut pair = bench.talking(Way::In).await?;
    course(&mut pair).await?;
    let fqdn = bench.trunk().fqdn.clone();
    let all: Vec<Arc<Message>> = bench.heard(&pair.teams);
    let requests: Vec<_> = all.iter().filter(|message| message.is_request()).collect();
    for method in ["INVITE", "ACK", "BYE"] {
        ensure!(requests.iter().any(|it| it.method() == method), "no {method} at Teams");
    }
    for request in &requests {
        let method = request.method();
        if let Some(contact) = request.contact() {
            let host = host_of(contact);
            ensure!(host == fqdn, "Contact of {method} is not of the tenant");
            ensure!(contact.contains("transport=tls"), "Contact of {method} lacks transport=tls");
        } else {
            ensure!(method != "INVITE", "an INVITE without Contact");
        }
        let from = host_of(uri_of(request.header("From").unwrap_or_default())).to_owned();
        ensure!(from == fqdn, "From of {method} is not of the tenant");
        let sent_by = request.header("Via").and_then(|via| via.split_whitespace().nth(1));
        let sent_by = format!("sip:{}", sent_by.unwrap_or_default());
        ensure!(host_of(&sent_by) == fqdn, "Via of {method} is not of the tenant");
    }
    ensure!(
        requests.iter().filter(|it| it.method() == "INVITE").count() >= 2,
        "no re-INVITE at Teams"
    );
    let invite = requests[0];
    ensure!(invite.called().starts_with("+1"), "the Request-URI lacks +");
    ensure!(invite.uri().contains(";user=phone"), "the Request-URI lacks user=phone");
    ensure!(
        host_of(invite.uri()).ends_with(&bench.stage.domain),
        "the Request-URI is not of Teams"
    );
    let kind = invite.header("Content-Type").unwrap_or_default();
    ensure!(kind == "application/sdp", "Content-Type {kind}");
    bench.came(format!(
        "INVITE, ACK, re-INVITE and BYE at Teams in the name of {fqdn}; Request-URI sip:+E164@{};user=phone",
        host_of(invite.uri())
    ));
    Ok(())
}

async fn by_trunk(bench: &mut Bench) -> Judged {
    let known = bench.known("it takes a number that two tenants have")?;
    let (number, trunks) = (known.private, [&known.first, &known.pass].map(Arc::clone));
    bench.sent(format!("a call to {number} from each of two trunks, whose tenants both have it"));
    for trunk in trunks {
        let invite = Invite::new(CALLER, number, &trunk.host);
        let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
        let host = callee.invite().and_then(Message::contact).map(host_of).unwrap_or_default();
        ensure!(host == trunk.fqdn, "the call of {} is of {host}", trunk.end);
        bench.came(format!("from {}: the INVITE at Teams of {host}", trunk.end));
        callee.refuse(486, "Busy Here").await;
        caller.refused(LIMIT).await?;
    }
    Ok(())
}

async fn numbers(bench: &mut Bench) -> Judged {
    let known = bench.known("it takes to know how this SBC reads national numbers")?;
    let ([dialled, number], trunk) = (known.national, Arc::clone(&known.first));
    bench.sent(format!("a call of a British trunk from 02079460999 to {dialled}"));
    let awaited = bench.stage.teams.expect(number);
    let invite = Invite::new("02079460999", dialled, &trunk.host);
    let (mut caller, mut callee) = bench.call(&trunk.carrier, invite, awaited).await?;
    let heard = callee.invite().map(|it| {
        let from = uri_of(it.header("From").unwrap_or_default()).to_owned();
        (it.called().to_owned(), from)
    });
    let (called, from) = heard.unwrap_or_default();
    ensure!(called == number, "the Request-URI has {called}");
    ensure!(from.starts_with("sip:+442079460999@"), "From has {from}");
    bench.came(format!("{number} in the Request-URI, +442079460999 in From"));
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;

    bench.sent("a call to \"nonsense\"");
    let mut caller = trunk.carrier.call(Invite::new(CALLER, "nonsense", &trunk.host)).await?;
    let status = caller.refused(LIMIT).await?;
    ensure!(matches!(status, 404 | 484), "{status}");
    ensure!(bench.invites(&bench.stage.teams, "nonsense").is_empty(), "it was offered to Teams");
    bench.came(format!("{status}; nothing at Teams"));

    for odd in ["12345", "a-name", "anonymous"] {
        bench.sent(format!("a call from {odd:?}"));
        let mut invite = bench.inbound(&trunk);
        odd.clone_into(&mut invite.caller);
        let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
        callee.refuse(486, "Busy Here").await;
        caller.refused(LIMIT).await?;
        bench.came("the INVITE at Teams");
    }
    Ok(())
}

async fn asserted(bench: &mut Bench) -> Judged {
    let trunk = match &bench.stage.known {
        Some(known) => Arc::clone(&known.pass),
        None => bench.trunk(),
    };
    for privacy in [false, true] {
        let mut invite = bench.inbound(&trunk);
        "+14155550111".clone_into(&mut invite.caller);
        let asserted =
            format!("P-Asserted-Identity: <sip:+14155550122@{}>", trunk.carrier.address().ip());
        invite = invite.with(&asserted);
        if privacy {
            invite = invite.with("Privacy: id");
        }
        bench.sent(format!(
            "a call from +14155550111 with P-Asserted-Identity +14155550122{}",
            if privacy { " and Privacy: id" } else { "" }
        ));
        let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
        let invite = callee.invite().cloned();
        callee.refuse(486, "Busy Here").await;
        caller.refused(LIMIT).await?;
        let Some(invite) = invite else { return Ok(()) };
        let from = invite.header("From").unwrap_or_default();
        if privacy {
            ensure!(!from.contains("14155550"), "From shows the number");
            ensure!(from.to_ascii_lowercase().contains("anonymous"), "From is not anonymous");
            ensure!(invite.header("P-Asserted-Identity").is_none(), "P-Asserted-Identity leaves");
            bench.came("From anonymous, no P-Asserted-Identity");
        } else {
            ensure!(from.contains("sip:+14155550122@"), "From has another number");
            bench.came("From with +14155550122");
        }
    }
    Ok(())
}

async fn kept_away(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    let isup = "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\nx";
    let pidf = "Content-Type: application/pidf+xml\r\nContent-ID: <a@lab>\r\n\r\n<presence/>";
    for (what, line, part) in [
        ("Replaces", "Replaces: nothing@lab;to-tag=a;from-tag=b", ""),
        ("an ISUP body beside the SDP", "", isup),
        ("a PIDF body beside the SDP", "Geolocation: <cid:a@lab>", pidf),
    ] {
        bench.sent(format!("an INVITE of the trunk with {what}"));
        let mut invite = bench.inbound(&trunk);
        if !line.is_empty() {
            invite = invite.with(line);
        }
        if !part.is_empty() {
            invite.around = Some(Around::multipart(part));
        }
        let called = invite.called.clone();
        let awaited = bench.stage.teams.expect(&called);
        let mut caller = trunk.carrier.call(invite).await?;
        bench.note(&caller);
        // Whether it is refused or passed on without that: Teams sees nothing of it.
        match awaited.call(LIMIT).await {
            Ok(mut callee) => {
                bench.note(&callee);
                let at_teams = callee.invite().cloned();
                callee.refuse(486, "Busy Here").await;
                caller.refused(LIMIT).await?;
                let Some(at_teams) = at_teams else { continue };
                for name in ["Replaces", "Geolocation"] {
                    ensure!(at_teams.header(name).is_none(), "{name} reaches Teams");
                }
                let kind = at_teams.header("Content-Type").unwrap_or_default();
                ensure!(kind == "application/sdp", "a body of {kind} reaches Teams");
                bench.came("an INVITE at Teams with SDP alone, without that header");
            }
            Err(_) => {
                let status = caller.refused(LIMIT).await?;
                let blamed = bench.invites(&bench.stage.teams, &called);
                ensure!(blamed.is_empty(), "Teams gets it, and refuses");
                bench.came(format!("{status}; nothing at Teams"));
            }
        }
    }
    Ok(())
}

async fn by_uri(bench: &mut Bench) -> Judged {
    let (first, second) = (bench.trunk(), bench.other()?);
    bench.sent(format!("an INVITE of Teams to {}", second.fqdn));
    let invite = bench.outbound(&second);
    let called = invite.called.clone();
    let (mut caller, mut callee) = bench.call_out(&second, invite).await?;
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    ensure!(bench.invites(&first.carrier, &called).is_empty(), "another trunk was called too");
    bench.came("the INVITE at the trunk of that tenant alone");
    for host in [format!("nobody.{}", bench.stage.base), "t001.elsewhere.test".to_owned()] {
        bench.sent(format!("an INVITE of Teams to {host}"));
        let mut invite = bench.outbound(&first);
        // The connection is one for a name that the certificate covers.
        invite.text = Some(Edit::replace(&first.fqdn, &host));
        let called = invite.called.clone();
        let mut caller = bench.stage.teams.call(invite).await?;
        bench.note(&caller);
        let status = caller.refused(LIMIT).await?;
        ensure!(matches!(status, 403 | 404), "{status}");
        for trunk in [&first, &second] {
            ensure!(bench.invites(&trunk.carrier, &called).is_empty(), "a trunk was called");
        }
        bench.came("403 or 404, no INVITE at a trunk");
    }
    Ok(())
}

async fn echoed(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => {
                "a call of the trunk; the 200 of Teams with a Contact of port 443, x-i and x-c"
            }
            Way::Out => "a call of Teams with such a Contact",
        });
        let mut pair = bench.talking(way).await?;
        course(&mut pair).await?;
        let contact = pair.teams.contact().to_owned();
        let mut requests = bench.heard(&pair.teams);
        requests.retain(|it| it.is_request() && it.to_tag().is_some());
        for method in ["ACK", "INVITE", "BYE"] {
            let mut of_method = requests.iter().filter(|it| it.method() == method).peekable();
            ensure!(of_method.peek().is_some(), "no {method} inside the dialog");
            for request in of_method {
                ensure!(request.uri() == contact, "{method} goes to another Request-URI");
            }
        }
        let recorded = pair.teams.record_route().to_owned();
        for request in &requests {
            let routes = request.elements("Route");
            ensure!(
                routes == [recorded.as_str()],
                "{} does not go by the Record-Route of Teams",
                request.method()
            );
        }
        let answers = bench.answers(&pair.teams);
        if let Some(accepted) = answers.iter().find(|it| it.status() == 200) {
            let routes = accepted.elements("Record-Route");
            ensure!(
                routes == [recorded.as_str()],
                "the 200 does not repeat the Record-Route of Teams"
            );
        }
        bench.came("ACK, re-INVITE and BYE with that Request-URI, by the Record-Route of Teams");
    }
    Ok(())
}

async fn private(bench: &mut Bench) -> Judged {
    let known = bench.known("it takes a trunk that is trusted and one that is not")?;
    let trunks = [(Arc::clone(&known.first), false), (Arc::clone(&known.pass), true)];
    for (trunk, trusted) in trunks {
        let kind = if trusted { "trusted" } else { "untrusted" };
        bench.sent(format!(
            "a call of Teams with P-Asserted-Identity and Privacy: id, to a trunk that is {kind}"
        ));
        let mut invite = bench.outbound(&trunk);
        let domain = bench.stage.domain.clone();
        let number = invite.caller.clone();
        invite = invite
            .with(&format!("P-ASSERTED-IDENTITY: <tel:{number}>,<sip:{number}@sip.{domain}>"))
            .with("PRIVACY: id");
        let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
        let invite = callee.invite().cloned();
        callee.refuse(486, "Busy Here").await;
        caller.refused(LIMIT).await?;
        let Some(invite) = invite else { return Ok(()) };
        let from = invite.header("From").unwrap_or_default();
        ensure!(!from.contains(&number), "From shows the number");
        let identity = invite.header("P-Asserted-Identity").unwrap_or_default();
        ensure!(
            identity.contains(&number) == trusted,
            "P-Asserted-Identity on a trunk that is {kind}"
        );
        bench.came(format!(
            "From anonymous, {} P-Asserted-Identity",
            if trusted { "the number in" } else { "no" }
        ));
    }
    // Something late would have come by now.
    tokio::time::sleep(WHILE).await;
    Ok(())
}

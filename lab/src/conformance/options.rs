//! Pairing and health: TR-001 to TR-007, TR-074.

use std::future::ready;
use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Judged, LIMIT, Trouble, ensure};
use super::rule::{Rule, When};
use crate::agent::Ping;
use crate::clock;
use crate::sip::{Message, host_of, uri_of};

pub(crate) static RULES: [Rule; 8] = [
    Rule::played(
        1,
        "Three names of Teams: a TLS session with each name as SNI, OPTIONS on each, again after 60 to 180 s",
        |bench| Box::pin(every_minute(bench)),
    )
    .at(When::Throughout)
    .shown_by("tr_001_three_sessions_within_two_seconds_and_options_every_minute"),
    Rule::played(
        2,
        "OPTIONS to Teams: Contact and Via with the trunk's FQDN, no user part, no address; Allow with REFER and NOTIFY",
        |bench| Box::pin(ready(shape(bench))),
    ),
    Rule::played(
        3,
        "OPTIONS of Teams: 200 on their connection within 200 ms, with Contact, Allow, Supported: replaces, timer",
        |bench| Box::pin(answer(bench)),
    ),
    Rule::played(4, "A 200 to OPTIONS without Contact means that Teams is well", |bench| {
        Box::pin(without_contact(bench))
    }),
    Rule::played(5, "A 403 to OPTIONS: that name is down, and asked no faster", |bench| {
        Box::pin(refused(bench))
    })
    .at(When::Throughout)
    .shown_by("tr_005_a_403_to_options_is_an_alarm_and_no_loop"),
    Rule::played(
        6,
        "The first name does not answer: calls use the next one, and return to the first when it is back",
        |bench| Box::pin(next_name(bench)),
    )
    .at(When::Alone),
    Rule::unseen(
        7,
        "A changed DNS answer is used within 15 minutes; the old connection drains",
        "it takes a name server of one's own, and up to 15 minutes",
    )
    .shown_by("tr_007_a_changed_answer_is_used_within_its_ttl_and_old_connections_drain"),
    Rule::played(
        74,
        "However many tenants there are, OPTIONS are sent for the carrier trunk alone",
        |bench| Box::pin(ready(one_set(bench))),
    )
    .shown_by("tr_074_a_reload_adds_no_options_and_forgets_no_health"),
];

/// OPTIONS that came to one of our names.
fn pings(bench: &Bench, home: usize) -> Vec<Ping> {
    let address = bench.stage.teams.homes()[home].address;
    let mut pings = bench.stage.teams.pings();
    pings.retain(|ping| ping.local == address);
    pings
}

/// Waits for the second OPTIONS at a name; the time between the two.
async fn second(bench: &Bench, home: usize) -> Result<Duration, Trouble> {
    let end = clock::now() + INTERVAL;
    loop {
        match pings(bench, home).as_slice() {
            [first, second, ..] => return Ok(second.at.saturating_duration_since(first.at)),
            _ if clock::now() > end => {
                return Err(Trouble::Broken("no second OPTIONS within 180 s".to_owned()));
            }
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn every_minute(bench: &mut Bench) -> Judged {
    let homes = bench.stage.teams.homes().len();
    if homes < 3 {
        return Err(Trouble::Unjudged("it takes three addresses for the names of Teams"));
    }
    bench.sent("nothing: the SBC begins");
    for home in 0..3 {
        ensure!(!pings(bench, home).is_empty(), "no OPTIONS at name {}", home + 1);
    }
    bench.came("OPTIONS at sip, sip2 and sip3");
    let shaken = bench.stage.teams.handshakes();
    for (home, name) in ["sip", "sip2", "sip3"].iter().enumerate() {
        let name = format!("{name}.{}", bench.stage.domain);
        let here = bench.stage.teams.homes()[home].address;
        let theirs = shaken.iter().find(|it| it.inbound && it.local == here && it.fault.is_none());
        let sni = theirs.and_then(|it| it.name.clone()).unwrap_or_default();
        ensure!(sni == name, "SNI {sni:?} at {name}");
    }
    bench.came("each on a TLS session whose SNI is that name");
    for home in 0..3 {
        let gap = second(bench, home).await?;
        ensure!(gap >= SHORTEST, "OPTIONS come faster than every 60 s");
    }
    bench.came("the second at each not before 60 s and not after 180 s");
    Ok(())
}

fn shape(bench: &mut Bench) -> Judged {
    bench.sent("nothing: the SBC begins");
    let log = bench.stage.log.all();
    let ours: Vec<_> = bench.stage.teams.homes().iter().map(|home| home.address).collect();
    let first = log.iter().find(|record| {
        let request = !record.sent && record.message.is_request();
        request && record.message.method() == "OPTIONS" && ours.contains(&record.local)
    });
    let Some(options) = first.map(|record| &record.message) else {
        return Err(Trouble::Broken("no OPTIONS".to_owned()));
    };
    named(options, &bench.stage.base)?;
    let sent_by = options.header("Via").and_then(|via| via.split_whitespace().nth(1));
    let sent_by = host_of(&format!("sip:{}", sent_by.unwrap_or_default())).to_owned();
    ensure!(sent_by == bench.stage.base, "Via is of {sent_by}");
    let from = uri_of(options.header("From").unwrap_or_default());
    ensure!(host_of(from) == bench.stage.base && !from.contains('@'), "From {from}");
    bench.came(format!(
        "Contact, From and Via of {}, transport=tls, without user part; Allow with REFER and NOTIFY; no Record-Route",
        bench.stage.base
    ));
    Ok(())
}

/// Contact and Allow of OPTIONS, or of their answer.
fn named(message: &Message, base: &str) -> Judged {
    let contact = message.contact().unwrap_or_default();
    ensure!(!contact.is_empty(), "no Contact");
    ensure!(host_of(contact) == base, "Contact names {}", shown(host_of(contact)));
    ensure!(!contact.contains('@'), "Contact has a user part");
    ensure!(contact.contains("transport=tls"), "Contact lacks transport=tls");
    let allow = message.elements("Allow");
    for method in ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REFER", "NOTIFY"] {
        ensure!(allow.iter().any(|it| it == method), "Allow lacks {method}");
    }
    for route in message.elements("Record-Route") {
        ensure!(host_of(uri_of(&route)) == base, "Record-Route of another name");
    }
    Ok(())
}

/// A host as it may stand in a report.
fn shown(host: &str) -> &str {
    if host.parse::<std::net::IpAddr>().is_ok() { "an address" } else { host }
}

async fn answer(bench: &mut Bench) -> Judged {
    let base = bench.stage.base.clone();
    bench.sent("OPTIONS of Teams to the SBC's name");
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let (answer, took, same) = bench.stage.teams.ask_options(0, &base).await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        ensure!(same, "the answer came on another connection");
        named(&answer, &base)?;
        let supported = answer.elements("Supported");
        for option in ["replaces", "timer"] {
            ensure!(supported.iter().any(|it| it == option), "Supported lacks {option}");
        }
        fastest = fastest.min(took);
    }
    ensure!(fastest < Duration::from_millis(200), "no answer within 200 ms");
    bench.came("200 on the same connection within 200 ms: Contact of the name, Allow with REFER and NOTIFY, Supported: replaces, timer");
    Ok(())
}

async fn without_contact(bench: &mut Bench) -> Judged {
    bench.sent("200 without Contact to each OPTIONS, then a call of the trunk");
    let trunk = bench.trunk();
    let invite = bench.inbound(&trunk);
    let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    bench.came("the INVITE at Teams");
    Ok(())
}

async fn refused(bench: &mut Bench) -> Judged {
    let home = bench.stage.teams.homes().len() - 1;
    if home == 0 {
        return Err(Trouble::Unjudged("it takes two addresses for the names of Teams"));
    }
    bench.sent("403 with a Reason to the first OPTIONS at the last name");
    let first = pings(bench, home).first().map(|ping| ping.status);
    bench.stage.teams.refuse_pings(home, None);
    if first != Some(403) {
        return Err(Trouble::Unjudged("its first OPTIONS at that name came too early, or never"));
    }
    let gap = second(bench, home).await?;
    ensure!(gap >= SHORTEST, "the name that refused is asked faster");
    bench.came("the next OPTIONS there not before 60 s");
    Ok(())
}

async fn next_name(bench: &mut Bench) -> Judged {
    if bench.stage.teams.homes().len() < 2 {
        return Err(Trouble::Unjudged("it takes two addresses for the names of Teams"));
    }
    bench.sent("nothing at all from sip, while the trunk calls");
    bench.stage.teams.deafen(0, true);
    let met = call_at(bench).await;
    bench.stage.teams.deafen(0, false);
    ensure!(met? == 1, "the call did not come to the second name");
    bench.came("the INVITE at sip2");
    bench.sent("answers from sip again, from its next OPTIONS on");
    let before = pings(bench, 0).len();
    let end = clock::now() + INTERVAL;
    while pings(bench, 0).len() == before && clock::now() < end {
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_millis(500)).await;
    ensure!(call_at(bench).await? == 0, "calls do not return to the first name");
    bench.came("the next INVITE at sip");
    Ok(())
}

/// The name at which a call of the trunk is offered.
async fn call_at(bench: &mut Bench) -> Result<usize, Trouble> {
    let trunk = bench.trunk();
    let invite = bench.inbound(&trunk);
    let awaited = bench.stage.teams.expect(&invite.called);
    let mut caller = trunk.carrier.call(invite).await?;
    bench.note(&caller);
    let mut callee = awaited.call(2 * LIMIT).await?;
    bench.note(&callee);
    let home = callee.home();
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    Ok(home)
}

fn one_set(bench: &mut Bench) -> Judged {
    bench.sent("nothing: the SBC begins");
    let pings = bench.stage.teams.pings();
    ensure!(!pings.is_empty(), "no OPTIONS");
    let base = &bench.stage.base;
    if let Some(other) = pings.iter().find(|ping| ping.host != *base) {
        return Err(Trouble::Broken(format!("OPTIONS of {}", shown(&other.host))));
    }
    let tenants = bench.stage.trunks.len();
    bench.came(format!("with {tenants} tenants, OPTIONS of {} only", bench.stage.base));
    Ok(())
}

/// The longest time between two OPTIONS to a name.
const INTERVAL: Duration = Duration::from_secs(181);
/// The shortest, less what a timer may be early.
const SHORTEST: Duration = Duration::from_millis(59_500);

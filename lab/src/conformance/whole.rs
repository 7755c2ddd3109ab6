//! What holds for every message of all plays: TR-038, TR-075.

use std::net::IpAddr;

use super::bench::{Bench, Judged, LIMIT, Pair, Way, ensure, meanwhile};
use super::rule::{Rule, When};
use crate::capture::Record;
use crate::sip::{host_of, uri_of};

pub(crate) static RULES: [Rule; 2] = [
    Rule::played(
        38,
        "No UPDATE, PRACK, INFO, REFER, SUBSCRIBE or MESSAGE to Teams; an UPDATE of the trunk ends here",
        |bench| Box::pin(methods(bench)),
    )
    .at(When::Last),
    Rule::played(75, "No SIPS URI, no \"sip:@\", no address in Contact or Record-Route, in no message", |bench| {
        Box::pin(names(bench))
    })
    .at(When::Last),
];

/// What has come to Teams, from all plays.
fn at_teams(bench: &Bench) -> Vec<Record> {
    let mut all = bench.stage.log.all();
    all.retain(|record| !record.sent && &*record.end == "Teams");
    all
}

async fn methods(bench: &mut Bench) -> Judged {
    bench.sent("UPDATE and INFO of the trunk in a call with Teams");
    let mut pair = bench.talking(Way::In).await?;
    let Pair { carrier, teams } = &mut pair;
    let update = meanwhile(carrier.ask("UPDATE", "", "", LIMIT), teams).await?;
    let info = meanwhile(carrier.ask("INFO", "", "", LIMIT), teams).await?;
    pair.end(Way::In).await?;
    bench.came(format!("{} and {} at the trunk", update.status(), info.status()));
    bench.sent("everything that was played");
    let mut allowed = 0;
    for record in at_teams(bench).iter().filter(|record| record.message.is_request()) {
        let method = record.message.method();
        let fine = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "NOTIFY"].contains(&method);
        ensure!(fine, "{method} reaches Teams");
        allowed += 1;
    }
    ensure!(allowed > 0, "nothing came to Teams");
    bench.came("INVITE, ACK, BYE, CANCEL, OPTIONS and NOTIFY at Teams, no other method");
    Ok(())
}

async fn names(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk, then everything that was played");
    let mut pair = bench.talking(Way::In).await?;
    pair.end(Way::Out).await?;
    let all = at_teams(bench);
    ensure!(!all.is_empty(), "nothing came to Teams");
    for Record { message, .. } in &all {
        let start = message.start();
        let mut uris = vec![message.uri().to_owned()];
        for name in ["From", "To", "Contact", "Record-Route", "Route", "Refer-To", "Referred-By"] {
            uris.extend(message.elements(name).iter().map(|value| uri_of(value).to_owned()));
        }
        let method = message.method();
        for uri in uris {
            ensure!(!uri.starts_with("sips:"), "a SIPS URI in {method}");
            ensure!(!uri.starts_with("sip:@"), "a URI with an empty user part in {method}");
        }
        for name in ["Contact", "Record-Route"] {
            for value in message.elements(name) {
                let host = host_of(uri_of(&value)).to_owned();
                // A response repeats what Teams recorded itself.
                ensure!(
                    host.parse::<IpAddr>().is_err(),
                    "an address in {name} of {}",
                    first_word(start)
                );
            }
        }
    }
    bench.came("not one of them in any message at Teams");
    Ok(())
}

/// The method, or the version and status of a response.
fn first_word(start: &str) -> &str {
    if start.starts_with("SIP/2.0 ") {
        "a response"
    } else {
        start.split(' ').next().unwrap_or_default()
    }
}

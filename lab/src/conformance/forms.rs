//! Forms of messages and of dialogs: TR-021, TR-025, TR-026.

use super::bench::{Bench, Judged, LIMIT, Trouble, Way, ensure};
use super::rule::Rule;
use crate::agent::Edit;
use crate::sip::Direction;

pub(crate) static RULES: [Rule; 3] = [
    Rule::played(
        21,
        "An INVITE of the trunk without SDP: Teams gets an offer of the SBC's own, with SRTP",
        |bench| Box::pin(late_offer(bench)),
    ),
    Rule::played(
        25,
        "A re-INVITE or BYE of Teams on a new connection from another address finds its dialog",
        |bench| Box::pin(elsewhere(bench)),
    ),
    Rule::played(
        26,
        "Header names in capitals, folded lines, compact forms; a message in three TLS records; an INVITE of 8 kB",
        |bench| Box::pin(forms(bench)),
    ),
];

async fn late_offer(bench: &mut Bench) -> Judged {
    bench.sent("an INVITE of the trunk without SDP; its SDP in the ACK");
    let trunk = bench.trunk();
    let mut invite = bench.inbound(&trunk);
    invite.late = true;
    let mut pair = bench.talking_with(Way::In, &trunk, invite).await?;
    bench.came("an INVITE at Teams with an offer of RTP/SAVP, an offer in the 200 to the trunk");
    bench.converse(&mut pair).await?;
    bench.came("audio both ways");
    pair.end(Way::In).await
}

async fn elsewhere(bench: &mut Bench) -> Judged {
    if bench.stage.teams.homes().len() < 2 {
        return Err(Trouble::Unjudged("it takes two addresses of Teams"));
    }
    for way in [Way::In, Way::Out] {
        let mut pair = bench.talking(way).await?;
        for direction in [Direction::Inactive, Direction::SendRecv] {
            let before = pair.teams.home();
            let answer = pair.reoffer(Way::Out, direction).await?;
            ensure!(pair.teams.home() != before, "the lab did not move");
            ensure!(answer.status() == 200, "{} to the re-INVITE", answer.status());
        }
        bench.sent(match way {
            Way::In => "in a call of the trunk: re-INVITEs and a BYE of Teams, each from another address of Teams",
            Way::Out => "the same in a call of Teams",
        });
        pair.end(Way::Out).await?;
        bench.came("200 to each of them; the trunk is hung up on");
    }
    Ok(())
}

async fn forms(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    let long: String = (0..90)
        .map(|n| {
            format!(
                "a=candidate:{n} 1 UDP 2130706431 203.0.113.{n} 50000 typ host generation 0\r\n"
            )
        })
        .collect();
    for (what, text, sdp, parts) in [
        ("header names in capitals", None, None, 1),
        ("compact header names", Some(Edit::new(compact)), None, 1),
        ("folded lines", Some(Edit::new(folded)), None, 1),
        ("8 kB in three TLS records", None, Some(Edit::new(move |sdp| format!("{sdp}{long}"))), 3),
    ] {
        bench.sent(format!("an INVITE of Teams: {what}"));
        let mut invite = bench.outbound(&trunk);
        (invite.text, invite.sdp, invite.parts) = (text, sdp, parts);
        if parts > 1 {
            invite = invite.with(&format!("X-MS-LONG: {}", "x".repeat(1500)));
        }
        let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
        callee.refuse(486, "Busy Here").await;
        let status = caller.refused(LIMIT).await?;
        ensure!(status == 486, "{status}");
        bench.came("the INVITE at the trunk");
    }
    Ok(())
}

fn compact(text: &str) -> String {
    let forms = [
        ("VIA", "v"),
        ("FROM", "f"),
        ("TO", "t"),
        ("CALL-ID", "i"),
        ("CONTACT", "m"),
        ("CONTENT-TYPE", "c"),
        ("CONTENT-LENGTH", "l"),
        ("SUPPORTED", "k"),
        ("SESSION-EXPIRES", "x"),
    ];
    forms.iter().fold(text.to_owned(), |text, (long, short)| {
        text.replace(&format!("\r\n{long}: "), &format!("\r\n{short}: "))
    })
}

fn folded(text: &str) -> String {
    text.replacen(";branch", ";\r\n \tbranch", 1)
        .replacen("\r\nMAX-FORWARDS: ", "\r\nmax-forwards  :  \r\n  ", 1)
        .replacen("\r\nCSEQ: 1 ", "\r\ncSeq \t:1   ", 1)
}

//! Whether a trunk's faxes pass as T.38 (ITU-T T.38 over UDPTL): `t38`.

use crate::key::Key;
use crate::model;
use crate::read::Choice;

pub(crate) static T38: Key<model::T38> = Key::default(
    "t38",
    "\"pass\"",
    "What becomes of a fax that it, or the other side of its call, wants to send by T.38 (m=image, udptl). \"pass\": it is offered to the other side, and relayed unread, where both sides are trunks in clear that have \"pass\". \"refuse\": 488, and the call goes on in audio; so wherever a side is Teams or has `srtp`.",
);

impl Choice for model::T38 {
    const WHAT: &'static str = "what becomes of T.38";
    const WORDS: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("refuse", Self::Refuse)];
}

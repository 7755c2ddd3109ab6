"""Faults that were seen in the field in other gateways: where each is seeded, and the rule that must find it."""

from dataclasses import dataclass


@dataclass
class Seed:
    name: str
    rule: str
    file: str
    # Stands once in the file.
    old: str
    # In its place; SEEDED is true where this fault is asked for.
    new: str


SEEDS = [
    Seed(
        "address-in-contact",
        "TR-017",
        "gateway/src/profile/face.rs",
        'let _ = write!(value, "{}:{}", self.host, self.port);',
        'let host = if self.always_name_transport && SEEDED { "127.0.0.1" } else { &self.host };\n'
        'let _ = write!(value, "{}:{}", host, self.port);',
    ),
    Seed(
        "user-phone-lost",
        "TR-017",
        "gateway/src/profile/teams.rs",
        'format!("sip:{}@{proxy}:{port};user=phone;transport=tls", escaped(called)).into()',
        'let phone = if SEEDED { "" } else { ";user=phone" };\n'
        'format!("sip:{}@{proxy}:{port}{phone};transport=tls", escaped(called)).into()',
    ),
    Seed(
        "options-without-refer",
        "TR-003",
        "gateway/src/profile/teams.rs",
        "draft.push(HeaderId::Allow, ALLOW);",
        'draft.push(HeaderId::Allow, if SEEDED { "INVITE, ACK, BYE, CANCEL, OPTIONS" } else { ALLOW });',
    ),
    Seed(
        "record-route-lost",
        "TR-024",
        "sip-stack/src/leg/reply.rs",
        "draft.copy(request, HeaderId::RecordRoute);",
        "if !SEEDED { draft.copy(request, HeaderId::RecordRoute); }",
    ),
    Seed(
        "second-200-stays",
        "TR-028",
        "sip-stack/src/leg/fork.rs",
        "        out.push_back(Action::Request { token, draft, hop });\n    }",
        "        if !SEEDED { out.push_back(Action::Request { token, draft, hop }); }\n    }",
    ),
    Seed(
        "183-twice",
        "TR-029",
        "gateway/src/call/ringing.rs",
        "        if let Some((status, sdp)) = ring {\n",
        "        if let Some((status, sdp)) = ring.clone().filter(|(status, _)| *status == 183 && SEEDED) {\n"
        "            self.on_leg(CALLER, cx, |leg, now, out| leg.ring(status, sdp, &[], now, out));\n"
        "        }\n"
        "        if let Some((status, sdp)) = ring {\n",
    ),
    Seed(
        "rollover-kept-with-new-key",
        "TR-043",
        "media-relay/src/shard/keys/inbound.rs",
        "let receiver = self.recall(key).unwrap_or_else(|| Receiver::new(key));",
        "let kept = before.last().filter(|_| SEEDED);\n"
        "let kept = kept.map(|it| Receiver::restore(key, &it.receiver.snapshot()));\n"
        "let receiver = kept.or_else(|| self.recall(key)).unwrap_or_else(|| Receiver::new(key));",
    ),
    Seed(
        "wrong-crypto-tag",
        "TR-045",
        "gateway/src/call/media_plan/side.rs",
        "let mut crypto = Crypto::new(tag, suite.name(), key.key_salt());",
        "let mut crypto = Crypto::new(tag + u32::from(SEEDED), suite.name(), key.key_salt());",
    ),
    Seed(
        "lifetime-lost",
        "TR-045",
        "gateway/src/call/media_plan/side.rs",
        "crypto.keys[0].lifetime = Some(LIFETIME);",
        "crypto.keys[0].lifetime = Some(LIFETIME).filter(|_| !SEEDED);",
    ),
    Seed(
        "recvonly-to-teams",
        "TR-050",
        "gateway/src/call/media_plan/side.rs",
        "(Holds::AsOffered, as_it_is) => as_it_is,",
        "(Holds::AsOffered, as_it_is) => as_it_is,\n            (Holds::InactiveOnly, as_it_is) if SEEDED => as_it_is,",
    ),
    Seed(
        "refer-refused",
        "TR-055",
        "gateway/src/call/transfer.rs",
        "if hops.is_empty() { Err(603) }",
        "if hops.is_empty() || SEEDED { Err(603) }",
    ),
    Seed(
        "referred-by-lower-case",
        "TR-059",
        "gateway/src/call/transfer.rs",
        "let referred_by = refer.value(HeaderId::ReferredBy).map(Bytes::copy_from_slice);",
        "let referred_by = refer.value(HeaderId::ReferredBy).map(|by| {\n"
        "            if SEEDED { Bytes::from(by.to_ascii_lowercase()) } else { Bytes::copy_from_slice(by) }\n"
        "        });",
    ),
]

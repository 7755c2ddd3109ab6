//! What a trunk says of headers, as keys again.

use super::{Entry, inline, list, maybe, set, text};
use crate::key::AnyKey;
use crate::model::{Dialect, HeaderRule};
use crate::read::Choice;
use crate::section::{fax, header, profile, reliable};

/// What a trunk's own words on headers come to.
pub(super) fn entries<'a>(of: &Dialect) -> Vec<Entry<'a>> {
    vec![
        set(&profile::NUMBERS_OUT, text(of.numbers_out.word())),
        set(&profile::CALLED_PREFIX_OUT, text(&of.called_prefix_out)),
        set(&profile::CALLED_PREFIX_IN, text(&of.called_prefix_in)),
        set(&profile::USER_PHONE, of.user_phone.to_string()),
        set(&profile::CALLED_FROM, list(of.called_from.iter().map(|place| text(place.word())))),
        maybe(&profile::CALLER_ID_OUT, of.caller_id_out.map(|out| text(out.word()))),
        set(&profile::DISPLAY_NAME, text(of.display_name.word())),
        set(&profile::HEADERS_TO, list(of.headers_to.iter().map(rule))),
        set(&profile::HEADERS_FROM, list(of.headers_from.iter().map(rule))),
        set(&profile::CODECS, list(of.codecs.iter().map(|codec| text(codec.word())))),
        set(&profile::REDIRECTS, text(of.redirects.word())),
        set(&reliable::RELIABLE_PROVISIONAL, text(of.reliable_provisional.word())),
        set(&fax::T38, text(of.t38.word())),
        set(&profile::MAX_MESSAGE, of.max_message.to_string()),
    ]
}

fn rule(rule: &HeaderRule) -> String {
    let entry = |key: &dyn AnyKey, value: &str| set(key, text(value));
    inline(match rule {
        HeaderRule::Add { name, value } => {
            vec![entry(&header::ADD, name), entry(&header::VALUE, value)]
        }
        HeaderRule::Set { name, value } => {
            vec![entry(&header::SET, name), entry(&header::VALUE, value)]
        }
        HeaderRule::Remove { name } => vec![entry(&header::REMOVE, name)],
        HeaderRule::Copy { name } => vec![entry(&header::COPY, name)],
        HeaderRule::Replace { name, pattern, with } => vec![
            entry(&header::REPLACE, name),
            entry(&header::MATCH, pattern.as_str()),
            entry(&header::WITH, with),
        ],
    })
}

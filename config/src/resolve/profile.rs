//! Profiles: those of the operator and those that are shipped, each over its base.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::fault::{Draft, Findings};
use crate::load;
use crate::model::{CallerId, Dialect, Diversion, EarlyMedia, Location, Refer, Srtp};
use crate::resolve::name::{Index, subject};
use crate::section::failover::{PeerInterval, StatusMap};
use crate::section::profile::{BASE, RawProfile, RawProfileFile, RawRules};
use crate::section::root::RawMain;
use crate::section::trunk::RawTrunk;
use crate::source::At;

/// The shipped profiles: name, one line, TOML.
pub(crate) static SHIPPED: [Shipped; 5] = [
    Shipped {
        name: GENERIC,
        about: "any SIP peer: the defaults of [[trunk]]",
        toml: include_str!("../../profiles/generic.toml"),
    },
    Shipped {
        name: "sipconnect",
        about: "a carrier by SIPconnect 2.0 that knows us by our address (static mode)",
        toml: include_str!("../../profiles/sipconnect.toml"),
    },
    Shipped {
        name: "sipconnect-registration",
        about: "a carrier by SIPconnect 2.0 with which we register",
        toml: include_str!("../../profiles/sipconnect-registration.toml"),
    },
    Shipped {
        name: "ims",
        about: "an IMS network by 3GPP TS 24.229",
        toml: include_str!("../../profiles/ims.toml"),
    },
    Shipped {
        name: "pbx",
        about: "a PBX or contact centre of a customer",
        toml: include_str!("../../profiles/pbx.toml"),
    },
];
const GENERIC: &str = "generic";

/// A profile that comes with the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// By which trunks refer to it.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// As it stands in a configuration.
    pub toml: &'static str,
}

/// What a profile says, and all its bases: everything that has a default is there.
#[derive(Clone, Debug)]
pub(crate) struct Rules(RawRules);

/// All profiles by name.
pub(crate) struct Profiles<'a> {
    index: Index<'a>,
    /// In the order of the index; `None`: a fault was noted.
    rules: Vec<Option<Rules>>,
}

/// Those that are shipped, read.
pub(crate) fn shipped(out: &mut Findings) -> Vec<RawProfile> {
    let read = |shipped: &Shipped| {
        let path = format!("profile {}", shipped.name);
        let (file, whole) =
            load::parse::<RawProfileFile>(Path::new(&path), Arc::from(shipped.toml), out);
        let RawProfileFile(list) =
            file.filter(|_| whole).expect("shipped profiles are TOML: a test reads them all");
        list
    };
    SHIPPED.iter().flat_map(read).collect()
}

/// What holds where nothing else is said.
pub(crate) fn generic() -> Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        let mut shipped = shipped(&mut Findings::default()).into_iter();
        Rules(shipped.next().expect("the first one is generic").rules)
    });
    RULES.clone()
}

impl<'a> Profiles<'a> {
    /// Those of the operator first; a shipped one of the same name gives way.
    pub(crate) fn new(main: &'a RawMain, shipped: &'a [RawProfile], out: &mut Findings) -> Self {
        let name_of = |raw: &RawProfile| raw.name.as_ref().map(|at| at.value.clone());
        let own: Vec<_> = main.profiles.iter().filter_map(name_of).collect();
        let free = |raw: &&RawProfile| name_of(raw).is_some_and(|name| !own.contains(&name));
        let all: Vec<_> = main.profiles.iter().chain(shipped.iter().filter(free)).collect();
        let index = Index::new("profile", all.iter().map(|raw| raw.name.as_ref()), out);
        let bases: Vec<_> = all.iter().map(|raw| base(raw, &index, out)).collect();
        let rules = (0..all.len()).map(|at| chain(at, &all, &bases, out)).collect();
        Self { index, rules }
    }

    /// Those of a trunk: what it says itself, and its profile.
    pub(crate) fn of(&self, trunk: &RawTrunk, out: &mut Findings) -> Rules {
        let found = match &trunk.profile {
            Some(name) => self.index.find(name, &subject("trunk", trunk.name.as_ref()), out),
            None => self.index.get(GENERIC),
        };
        let base = found.and_then(|at| self.rules[at].clone()).unwrap_or_else(generic);
        Rules(trunk.rules.over(&base.0))
    }
}

/// The position of the profile that says what this one does not.
fn base(raw: &RawProfile, index: &Index<'_>, out: &mut Findings) -> Option<usize> {
    match &raw.base {
        Some(name) => index.find(name, &subject("profile", raw.name.as_ref()), out),
        None => {
            let own = raw.name.as_ref().is_some_and(|name| name.value.0 == GENERIC);
            index.get(GENERIC).filter(|_| !own)
        }
    }
}

/// A profile over its base, over that one's, and so on.
fn chain(
    first: usize,
    all: &[&RawProfile],
    bases: &[Option<usize>],
    out: &mut Findings,
) -> Option<Rules> {
    let mut rules = all[first].rules.clone();
    let mut at = first;
    for _ in 0..all.len() {
        let Some(base) = bases[at] else { return Some(Rules(rules.over(&generic().0))) };
        rules = rules.over(&all[base].rules);
        at = base;
        if at == first {
            break;
        }
    }
    // Noted at each that is in the circle; one that only leads into it has no fault of its own.
    if at == first {
        let raw = all[first];
        let message =
            format!("{}: its base leads back to it", subject("profile", raw.name.as_ref()));
        let help = format!("Name another `{}`, such as \"{GENERIC}\".", BASE.name);
        let place = raw.base.as_ref().map_or(raw.span, |base| base.span);
        out.fault(Draft::new(message, help).at(place, "a circle"));
    }
    None
}

impl Rules {
    /// As far as it is about what SIP leaves open.
    pub(crate) fn dialect(&self) -> Dialect {
        let Self(raw) = self;
        Dialect {
            numbers_out: said(&raw.numbers_out).value,
            called_prefix_out: said(&raw.called_prefix_out).0,
            called_prefix_in: said(&raw.called_prefix_in).0,
            user_phone: said(&raw.user_phone),
            called_from: said(&raw.called_from).0,
            caller_id_out: raw.caller_id_out,
            display_name: said(&raw.display_name),
            headers_to: said(&raw.headers_to).0,
            headers_from: said(&raw.headers_from).0,
            codecs: said(&raw.codecs).0,
            redirects: said(&raw.redirects),
            reliable_provisional: said(&raw.reliable_provisional),
            t38: said(&raw.t38),
            max_message: said(&raw.max_message).0,
        }
    }

    pub(crate) fn early_media(&self) -> EarlyMedia {
        said(&self.0.early_media)
    }

    pub(crate) fn refer(&self) -> Refer {
        said(&self.0.refer)
    }

    pub(crate) fn caller_id(&self) -> CallerId {
        said(&self.0.caller_id)
    }

    pub(crate) fn diversion(&self) -> Diversion {
        said(&self.0.diversion)
    }

    pub(crate) fn location(&self) -> Location {
        said(&self.0.location)
    }

    pub(crate) fn trusted(&self) -> bool {
        said(&self.0.trusted)
    }

    pub(crate) fn status_map(&self) -> StatusMap {
        said(&self.0.status_map)
    }

    pub(crate) fn srtp(&self) -> Option<&At<Srtp>> {
        self.0.srtp.as_ref()
    }

    pub(crate) fn options_interval(&self) -> Option<PeerInterval> {
        self.0.options_interval
    }

    /// Where it is said how numbers are written, if that needs a country.
    pub(crate) fn needs_country(&self) -> Option<crate::source::Span> {
        let form = self.0.numbers_out.as_ref()?;
        (form.value == crate::model::NumberForm::National).then_some(form.span)
    }
}

/// What the shipped `generic` says of every key with a default.
fn said<T: Clone>(value: &Option<T>) -> T {
    value.clone().expect("generic says all: a test compares it with the keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Presence;
    use crate::section::profile::PROFILE;

    /// One fact at two places: the defaults of the keys, and `generic`.
    #[test]
    fn generic_is_the_defaults_of_the_keys() {
        let file: toml::Table = SHIPPED[0].toml.parse().unwrap();
        let generic = file["profile"][0].as_table().unwrap();
        for key in PROFILE.keys.iter().filter(|key| !["name", "base"].contains(&key.name())) {
            let said = generic.get(key.name()).cloned();
            let Presence::Default(text) = key.presence() else {
                assert_eq!(said, None, "{}", key.name());
                continue;
            };
            let default: toml::Table = format!("v = {text}").parse().unwrap();
            assert_eq!(said.as_ref(), default.get("v"), "{}", key.name());
        }
    }

    #[test]
    fn the_shipped_profiles_are_read_without_a_fault() {
        let mut out = Findings::default();
        let names: Vec<_> =
            shipped(&mut out).into_iter().map(|raw| raw.name.unwrap().value.0).collect();
        assert_eq!(names, SHIPPED.map(|shipped| shipped.name));
        assert!(out.is_clean());
    }
}

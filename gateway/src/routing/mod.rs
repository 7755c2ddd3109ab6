//! Who is calling, whom they mean, and by which hops they are reached.
//!
//! Pure look-ups over one configuration. A call's ends are each a tenant or a trunk, and both are treated alike:
//! each owns numbers, takes calls from certain trunks, and sends calls by certain trunks.

mod barring;
mod help;
mod identify;
mod lookup;
mod owners;
mod ownership;
mod plan;
mod share;
mod sources;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use config::{Config, Country, EarlyMedia, NumberRange};
use media_relay::audio::Clip;
use media_relay::audio::tone::{Tone, tone};

use crate::sounds::Sounds;

use owners::{Inbound, Owners};
pub use plan::{Hop, Place, PlaceName, Plan, Reach};
use sources::Sources;

/// A tenant, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub usize);

/// A trunk, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub usize);

/// An edge, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub usize);

/// A realm, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RealmId(pub usize);

/// One end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// A customer, reached through an edge.
    Tenant(TenantId),
    /// A SIP peer, reached through a realm.
    Trunk(TrunkId),
}

/// A configuration with its look-up tables.
#[derive(Debug)]
pub struct Routes {
    config: Arc<Config>,
    /// Lower-case name of a tenant at an edge.
    hosts: HashMap<(EdgeId, String), TenantId>,
    /// Public numbers.
    public: Owners,
    /// Private numbers, unique per trunk they come from.
    private: HashMap<TrunkId, Owners>,
    inbound: Inbound,
    sources: Sources,
    sounds: Sounds,
    /// Ringback by country, of those whose trunks have it generated.
    ringbacks: HashMap<Option<Country>, Arc<Clip>>,
    /// Numbers for help that tenants have of their own.
    help_of_tenants: BTreeSet<String>,
}

impl Routes {
    /// Builds the tables. The configuration has been checked, so no key stands for two ends.
    pub fn new(config: Arc<Config>) -> Self {
        let mut routes = Self {
            hosts: HashMap::new(),
            public: Owners::default(),
            private: HashMap::new(),
            inbound: Inbound::new(&config),
            sources: Sources::new(&config),
            sounds: Sounds::default(),
            ringbacks: HashMap::new(),
            help_of_tenants: help::help_of_tenants(&config),
            config,
        };
        let config = Arc::clone(&routes.config);
        let mut owned = Owned::default();
        for (index, tenant) in config.tenants.iter().enumerate() {
            for name in &tenant.names {
                routes.hosts.insert((EdgeId(name.edge), name.fqdn.clone()), TenantId(index));
            }
            owned.add(End::Tenant(TenantId(index)), &tenant.numbers, &tenant.inbound_trunks);
        }
        for (index, trunk) in config.trunks.iter().enumerate() {
            owned.add(End::Trunk(TrunkId(index)), &trunk.numbers, &trunk.inbound_trunks);
            if trunk.early_media == EarlyMedia::Generate {
                let ringbacks = &mut routes.ringbacks;
                ringbacks.entry(trunk.country).or_insert_with(|| ringback(trunk.country));
            }
        }
        routes.public = Owners::new(owned.public);
        let private = owned.private.into_iter();
        routes.private = private.map(|(trunk, ranges)| (trunk, Owners::new(ranges))).collect();
        routes
    }

    /// The same with its music.
    #[must_use]
    pub fn with_sounds(mut self, sounds: Sounds) -> Self {
        self.sounds = sounds;
        self
    }

    /// The music of this configuration.
    #[cfg(test)]
    pub(crate) const fn sounds(&self) -> &Sounds {
        &self.sounds
    }

    /// The configuration behind the tables.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All ends.
    pub fn ends(&self) -> impl Iterator<Item = End> + use<> {
        let tenants = (0..self.config.tenants.len()).map(|id| End::Tenant(TenantId(id)));
        tenants.chain((0..self.config.trunks.len()).map(|id| End::Trunk(TrunkId(id))))
    }

    /// The configured name of an end.
    pub fn name(&self, end: End) -> &str {
        match end {
            End::Tenant(id) => &self.config.tenants[id.0].name,
            End::Trunk(id) => &self.config.trunks[id.0].name,
        }
    }

    /// What an end is to those who read of its calls: the tenant, whose trunk it may be as well, and the trunk.
    pub fn names(&self, end: End) -> [Option<&str>; 2] {
        let name = Some(self.name(end));
        match end {
            End::Tenant(_) => [name, None],
            End::Trunk(id) => {
                let owner = self.config.trunks[id.0].owner;
                [owner.map(|tenant| self.config.tenants[tenant].name.as_str()), name]
            }
        }
    }

    /// ISO 3166 code by which the national numbers of an end are read.
    pub fn country(&self, end: End) -> Option<&str> {
        match end {
            End::Tenant(id) => self.config.tenants[id.0].country.as_ref(),
            End::Trunk(id) => self.config.trunks[id.0].country.as_ref(),
        }
        .map(config::Country::as_str)
    }

    /// What an end hears while the other one rings.
    pub fn ringback(&self, end: Option<End>) -> Arc<Clip> {
        let country = match end {
            Some(End::Tenant(id)) => self.config.tenants[id.0].country,
            Some(End::Trunk(id)) => self.config.trunks[id.0].country,
            None => None,
        };
        self.ringbacks.get(&country).cloned().unwrap_or_else(|| ringback(country))
    }

    /// What each end of a call hears while the other one holds it.
    pub fn hold_music(&self, ends: [Option<End>; 2]) -> [Option<Arc<Clip>>; 2] {
        let [a, b] = ends;
        [self.music_of(a, b), self.music_of(b, a)]
    }

    /// A trunk's own, else that of the tenant which is the other end, or whose trunk it is.
    fn music_of(&self, end: Option<End>, other: Option<End>) -> Option<Arc<Clip>> {
        let (tenants, trunks) = (&self.config.tenants, &self.config.trunks);
        let file = match end? {
            End::Tenant(id) => tenants[id.0].hold_music.as_ref(),
            End::Trunk(id) => {
                let tenant = match other {
                    Some(End::Tenant(tenant)) => Some(tenant.0),
                    Some(End::Trunk(_)) | None => trunks[id.0].owner,
                };
                let own = trunks[id.0].hold_music.as_ref();
                own.or_else(|| tenants[tenant?].hold_music.as_ref())
            }
        };
        self.sounds.get(file?)?.get().cloned()
    }
}

/// Who owns what, while tables are made of it.
#[derive(Default)]
struct Owned {
    public: Vec<(NumberRange, End)>,
    private: HashMap<TrunkId, Vec<(NumberRange, End)>>,
}

impl Owned {
    fn add(&mut self, end: End, numbers: &config::Numbers, inbound: &[usize]) {
        for range in numbers.ranges() {
            if range.first.is_private() {
                for trunk in inbound {
                    self.private.entry(TrunkId(*trunk)).or_default().push((*range, end));
                }
            } else {
                self.public.push((*range, end));
            }
        }
    }
}

fn ringback(country: Option<Country>) -> Arc<Clip> {
    Arc::new(tone(Tone::Ringback, country.as_ref().map(Country::as_str)))
}

#[cfg(test)]
pub(crate) mod tests;

//! The order of edges, realms and media pools: it has no meaning, but whoever runs has numbered them.

use crate::model::Config;

impl Config {
    /// Puts edges, realms and media pools into the order that they have in `other`; what `other`
    /// lacks comes last. Afterwards an index of one of them means the same in both, as long as
    /// nothing came or went.
    pub fn align(&mut self, other: &Self) {
        let edges = order(&self.edges, &other.edges, |edge| &edge.name);
        let realms = order(&self.realms, &other.realms, |realm| &realm.name);
        let media = order(&self.media, &other.media, |pool| &pool.name);
        permute(&mut self.edges, &edges);
        permute(&mut self.realms, &realms);
        permute(&mut self.media, &media);
        self.edges.iter_mut().for_each(|edge| edge.media = media[edge.media]);
        self.realms.iter_mut().for_each(|realm| realm.media = media[realm.media]);
        self.trunks.iter_mut().for_each(|trunk| trunk.realm = realms[trunk.realm]);
        for name in self.tenants.iter_mut().flat_map(|tenant| &mut tenant.names) {
            name.edge = edges[name.edge];
        }
    }
}

/// For each of `own` its place in the order of `others`.
fn order<T>(own: &[T], others: &[T], name: impl Fn(&T) -> &String) -> Vec<usize> {
    let rank = |index: &usize| {
        let found = others.iter().position(|other| name(other) == name(&own[*index]));
        (found.unwrap_or(usize::MAX), *index)
    };
    let mut ranked: Vec<usize> = (0..own.len()).collect();
    ranked.sort_by_key(rank);
    let mut places = vec![0; own.len()];
    for (place, index) in ranked.into_iter().enumerate() {
        places[index] = place;
    }
    places
}

fn permute<T>(list: &mut Vec<T>, places: &[usize]) {
    let mut placed: Vec<(usize, T)> = places.iter().copied().zip(list.drain(..)).collect();
    placed.sort_by_key(|(place, _)| *place);
    list.extend(placed.into_iter().map(|(_, item)| item));
}

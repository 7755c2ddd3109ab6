//! A bad line: of a hundred datagrams some are lost, some are late, drawn from a seed.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;
use crate::seeded::Seeded;

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// What is drawn.
    pub seed: u64,
    /// Lost, of a hundred.
    pub lost: u64,
    /// Late, of a hundred: behind what was sent up to 60 ms after them.
    pub late: u64,
}

/// What becomes of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    Late(Duration),
    Lost,
}

/// The weather over one socket.
#[derive(Default)]
pub(crate) struct Sky(Mutex<Option<(Weather, Seeded)>>);

impl Sky {
    pub(crate) fn set(&self, weather: Weather) {
        *lock(&self.0) = Some((weather, Seeded::new(weather.seed)));
    }

    pub(crate) fn fate(&self) -> Fate {
        let mut sky = lock(&self.0);
        let Some((weather, seeded)) = sky.as_mut() else { return Fate::Passes };
        let drawn = seeded.below(100);
        if drawn < weather.lost {
            Fate::Lost
        } else if drawn < weather.lost + weather.late {
            Fate::Late(Duration::from_millis(20 + seeded.below(40)))
        } else {
            Fate::Passes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weather_is_as_bad_as_it_is_set_and_the_same_from_the_same_seed() {
        let draw = |seed| {
            let sky = Sky::default();
            assert_eq!(sky.fate(), Fate::Passes);
            sky.set(Weather { seed, lost: 10, late: 20 });
            (0..10_000).map(|_| sky.fate()).collect::<Vec<_>>()
        };
        let fates = draw(1);
        assert_eq!(fates, draw(1));
        assert_ne!(fates, draw(2));
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        let late = fates.iter().filter(|fate| matches!(fate, Fate::Late(_))).count();
        assert!((900..1100).contains(&lost) && (1850..2150).contains(&late), "{lost} {late}");
    }
}

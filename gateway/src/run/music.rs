//! The files of music: what they hold, and what is wrong with it.
//!
//! A file is read in two steps. First its header, in which everything that can be wrong shows: that is a fault at the place
//! where the configuration names it, and forbids a start or a reload like any other. Then its samples, one file after the
//! other, which takes seconds where they are minutes of a high rate: a start does so beside the calls, a
//! reload before it is put in force. A file that nobody wrote to since is not read again.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{Change, Fault, Faults, Footprint, Loaded, Reading, SoundFile};
use media_relay::audio::wav::{Wav, WavError};

use crate::sounds::{Sound, Sounds};

/// The music of one reading of the configuration, in the order of the places that name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Music(Vec<Piece>);

/// One file.
#[derive(Clone, Debug)]
struct Piece {
    file: SoundFile,
    length: Duration,
    sound: Sound,
}

/// Reads the configuration with the headers of its music.
pub(crate) fn read(path: &Path) -> (Result<(Loaded, Music), Faults>, Footprint) {
    let Reading { outcome, files, sounds } = config::read(path);
    let (music, wrong) = Music::look(sounds);
    let outcome = match outcome {
        Ok(loaded) if wrong.is_empty() => Ok((loaded, music)),
        Ok(_) => Err(Faults::default()),
        Err(faults) => Err(faults),
    };
    let outcome = outcome.map_err(|mut faults| {
        faults.extend(wrong);
        faults
    });
    (outcome, files)
}

impl Music {
    /// Reads the headers.
    fn look(files: Vec<SoundFile>) -> (Self, Vec<Fault>) {
        let (mut pieces, mut faults) = (Vec::new(), Vec::new());
        let mut whole = Duration::ZERO;
        for file in files {
            let length = match open(&file) {
                Ok(wav) => wav.duration(),
                Err(flaw) => {
                    faults.push(flaw.of(&file));
                    continue;
                }
            };
            if whole <= MOST && whole + length > MOST {
                faults.push(too_much(&file, whole + length));
            }
            whole += length;
            pieces.push(Piece { file, length, sound: Sound::default() });
        }
        (Self(pieces), faults)
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For whoever plays it.
    pub(crate) fn sounds(&self) -> Sounds {
        let sound = |piece: &Piece| (piece.file.path().to_owned(), Arc::clone(&piece.sound));
        self.0.iter().map(sound).collect()
    }

    /// Takes from `before` what nobody wrote to since.
    pub(crate) fn share(&mut self, before: &Self) {
        for piece in &mut self.0 {
            if let Some(same) = before.0.iter().find(|other| piece.file.is_same(&other.file)) {
                piece.sound = Arc::clone(&same.sound);
            }
        }
    }

    /// Reads the samples of all that is not known yet. What could not be read is not heard.
    pub(crate) fn load(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for Piece { file, sound, .. } in self.0.iter().filter(|piece| piece.sound.get().is_none()) {
            match open(file).and_then(|wav| Ok(wav.decode()?)) {
                // Somebody else may have read it meanwhile.
                Ok(clip) => _ = sound.set(Arc::new(clip)),
                Err(flaw) => faults.push(flaw.of(file)),
            }
        }
        faults
    }

    /// By what is heard of the same files `new` differs. What came or went is told by the configuration itself.
    pub(crate) fn diff(&self, new: &Self) -> Vec<Change> {
        let changed = new.0.iter().filter_map(|after| {
            let before = self.0.iter().find(|before| before.file.path() == after.file.path())?;
            let shown = |piece: &Piece| format!("{:.1} s", piece.length.as_secs_f64());
            let other = before.sound.get() != after.sound.get();
            other.then(|| after.file.changed(shown(before), shown(after)))
        });
        changed.collect()
    }
}

fn open(file: &SoundFile) -> Result<Wav<BufReader<File>>, Flaw> {
    Ok(Wav::open(BufReader::new(file.open()?))?)
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Flaw {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("cannot be played: {0}")]
    Unplayable(#[from] WavError),
}

impl Flaw {
    /// At the place that names the file.
    fn of(self, file: &SoundFile) -> Fault {
        let help = match &self {
            Self::Unreadable(_) => "Check the path, and the right to read it.",
            Self::Unplayable(error) => error.help(),
        };
        file.fault(&format!("{} {self}", file.path().display()), help)
    }
}

fn too_much(file: &SoundFile, whole: Duration) -> Fault {
    let minutes = |time: Duration| time.as_secs() / 60;
    let message = format!("with this file there are {} minutes of music", minutes(whole));
    let help = format!(
        "All files together may last for {} minutes, since they lie in memory: cut some, or name one file several times.",
        minutes(MOST)
    );
    file.fault(&message, &help)
}

/// All that is named: 256 MiB under both laws, four hours and a half.
const MOST: Duration = Duration::from_secs((256 << 20) / (2 * 8000));

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Files of music, each named by a trunk of its own. What else is wrong with the configuration is of no concern.
    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new(names: &[&str]) -> Self {
            let scratch = Self(tempfile::tempdir().unwrap());
            let trunk = |name: &&str| format!("[[trunk]]\nhold_music = \"{name}\"\n");
            let text: String = names.iter().map(trunk).collect();
            fs::write(scratch.path("gateway.toml"), text).unwrap();
            scratch
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        /// Mono, 8 bits, 4 kHz; silence that takes no place on the disk.
        fn write(&self, name: &str, seconds: u32) {
            let length = seconds * 4000;
            let mut file = Vec::from(*b"RIFF");
            file.extend((36 + length).to_le_bytes());
            file.extend(b"WAVEfmt ");
            for word in [16, 0x0001_0001, 4000, 4000, 0x0008_0001] {
                file.extend(u32::to_le_bytes(word));
            }
            file.extend(b"data");
            file.extend(length.to_le_bytes());
            fs::write(self.path(name), file).unwrap();
            let file = File::options().write(true).open(self.path(name)).unwrap();
            file.set_len((44 + length).into()).unwrap();
        }

        fn look(&self) -> (Music, Vec<Fault>) {
            Music::look(config::read(&self.path("gateway.toml")).sounds)
        }

        fn music(&self) -> Music {
            let (music, faults) = self.look();
            assert_eq!(faults.len(), 0, "{faults:?}");
            music
        }
    }

    #[test]
    fn music_comes_when_it_is_read_for_all_who_have_it() {
        let scratch = Scratch::new(&["a.wav", "b.wav"]);
        scratch.write("a.wav", 1);
        scratch.write("b.wav", 2);
        let music = scratch.music();
        let sounds = music.sounds();
        let length = |name: &str| Some(sounds.get(&scratch.path(name))?.get()?.duration());
        assert_eq!(length("a.wav"), None);
        // What is cut off meanwhile costs that file alone.
        scratch.write("a.wav", 0);
        let [fault] = &music.load()[..] else { panic!("one fault") };
        assert!(fault.message.contains("a.wav cannot be played"), "{}", fault.message);
        assert_eq!([length("a.wav"), length("b.wav")], [None, Some(Duration::from_secs(2))]);
    }

    #[test]
    fn a_reload_reads_only_what_was_written_to() {
        let scratch = Scratch::new(&["a.wav", "b.wav"]);
        scratch.write("a.wav", 1);
        scratch.write("b.wav", 1);
        let before = scratch.music();
        assert_eq!(before.load().len(), 0);
        scratch.write("b.wav", 3);
        let mut after = scratch.music();
        after.share(&before);
        let of = |music: &Music, at: usize| music.0[at].sound.get().map(|clip| clip.duration());
        assert!(Arc::ptr_eq(&before.0[0].sound, &after.0[0].sound));
        assert_eq!(of(&after, 1), None);
        assert_eq!(after.load().len(), 0);
        assert_eq!([of(&before, 1), of(&after, 1)], [1, 3].map(|s| Some(Duration::from_secs(s))));
        let changes: Vec<_> = before.diff(&after).iter().map(Change::to_string).collect();
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert!(change.ends_with("b.wav\": contents: 1.0 s → 3.0 s"), "{change}");
        assert_eq!(after.diff(&after), []);
    }

    /// By their headers, before a sample of them is read.
    #[test]
    fn all_music_together_has_a_largest_size() {
        let names: Vec<String> = (0..29).map(|number| format!("{number}.wav")).collect();
        let scratch = Scratch::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        names.iter().for_each(|name| scratch.write(name, 599));
        let (_, faults) = scratch.look();
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!(fault.message, "with this file there are 289 minutes of music");
        assert!(fault.help.contains("279 minutes"), "{}", fault.help);
        assert_eq!((fault.places[0].line, &*fault.places[0].label), (58, "this file"));
        scratch.write("0.wav", 1);
        scratch.write("1.wav", 1);
        scratch.music();
    }
}

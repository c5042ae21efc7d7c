//! Texts as agents write them: words, the same in every run, and not so regular that a compressor makes them vanish.

use fastrand::Rng;

/// How many different texts are at hand. Each write takes its own copy of one.
const TEXTS: usize = 256;

const WORDS: usize = 1_024;

/// Texts of one length.
pub(crate) struct Texts(Vec<String>);

impl Texts {
    pub(crate) fn of(bytes: usize) -> Self {
        let mut dice = Rng::with_seed(7);
        let words: Vec<String> = (0..WORDS).map(|_| word(&mut dice)).collect();
        Self((0..TEXTS).map(|_| text(&words, bytes, &mut dice)).collect())
    }

    pub(crate) fn pick(&self, dice: &mut Rng) -> String {
        dice.choice(&self.0).cloned().unwrap_or_default()
    }
}

fn word(dice: &mut Rng) -> String {
    (0..dice.usize(2..10)).map(|_| dice.lowercase()).collect()
}

fn text(words: &[String], bytes: usize, dice: &mut Rng) -> String {
    let mut text = String::with_capacity(bytes + 10);
    while text.len() < bytes {
        text.push_str(dice.choice(words).map_or("", String::as_str));
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

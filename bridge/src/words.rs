//! Words of a text and the words that carry no content, for measures of generated text.

use unicode_segmentation::UnicodeSegmentation;

use crate::{guard, Failure, Rows};

/// Lower case, and one apostrophe for both ways to write it: "Don’t" is the "don't" of the list.
fn normal(word: &str) -> String {
    word.to_lowercase().replace('\u{2019}', "'")
}

/// Words as UAX #29 cuts them: pieces without a letter or digit are no words.
pub fn split(text: &str) -> Result<Rows, Failure> {
    guard(None, || Ok(Rows { texts: text.unicode_words().map(normal).collect() }))
}

/// English, the list of NLTK.
pub fn stop_words() -> Result<Rows, Failure> {
    guard(None, || {
        let list = stop_words::lookup("en").ok_or_else(|| Failure("the list of stop words is not there".to_string()))?;
        Ok(Rows { texts: list.iter().map(|word| normal(word)).collect() })
    })
}

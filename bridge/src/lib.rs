//! Everything that Halftone takes from the Rust world, behind one C++ header: tokenizers, chat templates, parquet, words.
//!
//! Two rules hold for every function exported here. A panic never crosses the border: `guard` turns it into an error and marks
//! the object dead, because its inside may be half changed. And nothing here decides what input is acceptable: the C++ side has
//! checked and bounded it before (halftone/text), these crates are only asked to do the work.

mod bpe;
mod table;
mod template;
mod tokenizer;
mod words;

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;

use table::TableHandle;
use template::TemplateHandle;
use tokenizer::TokenizerHandle;
use words::{split as split_words, stop_words};

#[cxx::bridge(namespace = "halftone::bridge")]
mod ffi {
    /// What became of a rendering. `text` is the output, or the reason when `status` is not `Ok`.
    enum RenderStatus {
        Ok,
        /// The template itself refused the conversation (`raise_exception`).
        Refused,
        /// Steps or output bytes ran out.
        Budget,
        /// Anything else: a wrong operation, a missing value, a panic.
        Failed,
    }
    struct Rendered {
        status: RenderStatus,
        text: String,
    }

    /// Two texts as one input; `type_ids` tells which is which.
    struct Encoded {
        ids: Vec<i32>,
        type_ids: Vec<i32>,
    }

    /// Rows of a text column (a null is ""), or words.
    struct Rows {
        texts: Vec<String>,
    }

    extern "Rust" {
        type TokenizerHandle;
        /// Reads a tokenizer.json. Padding and truncation stored in it are switched off.
        fn tokenizer_from_json(json: &[u8]) -> Result<Box<TokenizerHandle>>;
        /// The same for a BPE model without subword marks, whose vocabulary and merges have been taken out of `json`. Token `id` is
        /// `text[spans[2 * id]..spans[2 * id + 1]]` (empty: no such id). `merges`: left, right and made id of each.
        fn tokenizer_from_flat(json: &[u8], text: &str, spans: &[u32], merges: &[u32]) -> Result<Box<TokenizerHandle>>;
        fn encode(self: &TokenizerHandle, text: &str, add_special: bool) -> Result<Vec<i32>>;
        fn encode_pair(self: &TokenizerHandle, a: &str, b: &str, add_special: bool) -> Result<Encoded>;
        fn decode(self: &TokenizerHandle, ids: &[u32], skip_special: bool) -> Result<String>;
        /// The id of a token, or -1.
        fn token_to_id(self: &TokenizerHandle, token: &str) -> Result<i64>;

        type TemplateHandle;
        fn template_from_source(source: &str) -> Result<Box<TemplateHandle>>;
        /// `variables` is a JSON object. `now` is the time that strftime_now() shows, in seconds since 1970.
        fn render(self: &TemplateHandle, variables: &str, steps: u64, output_bytes: u64, now: i64) -> Rendered;

        type TableHandle;
        /// Opens a parquet file of `size` bytes. `read` is the address of a function
        /// `int32_t (*)(const uint8_t* context, uint64_t offset, uint8_t* out, size_t n)` that returns 0 and never throws.
        unsafe fn table_open(read: usize, context: usize, size: u64, column: &str) -> Result<Box<TableHandle>>;
        fn next_rows(self: &mut TableHandle, most: usize, most_bytes: usize) -> Result<Rows>;

        /// Words of a text in their order, lower case.
        fn split_words(text: &str) -> Result<Rows>;
        /// Words of English without content, in the form of `split_words`.
        fn stop_words() -> Result<Rows>;
    }
}

pub(crate) use ffi::{Encoded, RenderStatus, Rendered, Rows};

/// The text of a failure; cxx shows it to C++ as the what() of a rust::Error.
#[derive(Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return format!("the library gave up: {text}");
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return format!("the library gave up: {text}");
    }
    "the library gave up".to_string()
}

/// Runs `work` on an object that may be `dead`; a panic becomes a Failure and kills the object.
pub(crate) fn guard<T>(dead: Option<&AtomicBool>, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // The default hook prints to stderr, which belongs to the program.
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    if dead.is_some_and(|flag| flag.load(Ordering::Acquire)) {
        return Err(Failure("an earlier failure made this object unusable".to_string()));
    }
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        if let Some(flag) = dead {
            flag.store(true, Ordering::Release);
        }
        Err(Failure(panic_text(payload)))
    })
}

fn tokenizer_from_json(json: &[u8]) -> Result<Box<TokenizerHandle>, Failure> {
    guard(None, || TokenizerHandle::from_json(json).map(Box::new))
}

fn tokenizer_from_flat(
    json: &[u8],
    text: &str,
    spans: &[u32],
    merges: &[u32],
) -> Result<Box<TokenizerHandle>, Failure> {
    guard(None, || TokenizerHandle::from_flat(json, text, spans, merges).map(Box::new))
}

fn template_from_source(source: &str) -> Result<Box<TemplateHandle>, Failure> {
    guard(None, || TemplateHandle::from_source(source).map(Box::new))
}

/// # Safety
/// `read` and `context` must be as the bridge says and outlive the table.
unsafe fn table_open(read: usize, context: usize, size: u64, column: &str) -> Result<Box<TableHandle>, Failure> {
    guard(None, || TableHandle::open(read, context, size, column).map(Box::new))
}

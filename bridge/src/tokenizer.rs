//! Hugging Face tokenizers, one text at a time. Const use from many threads is safe.

use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tokenizers::{
    AddedToken, DecoderWrapper, EncodeInput, Encoding, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerBuilder, TokenizerImpl,
};

use crate::bpe::FlatBpe;
use crate::{guard, Encoded, Failure};

type Flat = TokenizerImpl<FlatBpe, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The crate's own tokenizer, or its pipeline around tables of ours.
enum Inner {
    Whole(Tokenizer),
    Flat(Flat),
}

pub struct TokenizerHandle {
    inner: Inner,
    dead: AtomicBool,
}

fn failure(error: tokenizers::Error) -> Failure {
    Failure(error.to_string())
}

/// A part of a tokenizer.json; absent and null are the same.
fn part<T: serde::de::DeserializeOwned>(root: &mut Value, key: &str) -> Result<Option<T>, Failure> {
    match root.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|e| Failure(e.to_string())),
    }
}

impl TokenizerHandle {
    pub fn from_json(json: &[u8]) -> Result<Self, Failure> {
        let mut inner = Tokenizer::from_bytes(json).map_err(failure)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failure)?;
        Ok(Self { inner: Inner::Whole(inner), dead: AtomicBool::new(false) })
    }

    /// In the order in which the crate reads a file: added tokens last, when the model knows its own.
    pub fn from_flat(json: &[u8], text: &str, spans: &[u32], merges: &[u32]) -> Result<Self, Failure> {
        let mut root: Value = serde_json::from_slice(json).map_err(|e| Failure(e.to_string()))?;
        let mut model = FlatBpe::new(text, spans, merges)?;
        // What the crate refuses is refused here: the caller then asks the crate itself.
        if root.get("version").is_some_and(|v| v != "1.0") || root.get("added_tokens").is_some_and(Value::is_null) {
            return Err(Failure("an unknown version, or null for added tokens".to_string()));
        }
        if let Some(options) = root.get_mut("model") {
            model.unk_token = part(options, "unk_token")?;
            model.fuse_unk = part(options, "fuse_unk")?.unwrap_or(false);
            model.byte_fallback = part(options, "byte_fallback")?.unwrap_or(false);
            model.ignore_merges = part(options, "ignore_merges")?.unwrap_or(false);
        }
        let mut inner: Flat = TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(part(&mut root, "normalizer")?)
            .with_pre_tokenizer(part(&mut root, "pre_tokenizer")?)
            .with_post_processor(part(&mut root, "post_processor")?)
            .with_decoder(part(&mut root, "decoder")?)
            .build()
            .map_err(failure)?;
        let added: Vec<AddedToken> = part(&mut root, "added_tokens")?.unwrap_or_default();
        inner.add_tokens(added).map_err(failure)?;
        Ok(Self { inner: Inner::Flat(inner), dead: AtomicBool::new(false) })
    }

    // encode_fast skips the offsets, which nobody asks for.
    fn encoding<'s>(&self, input: impl Into<EncodeInput<'s>>, add_special: bool) -> Result<Encoding, Failure> {
        match &self.inner {
            Inner::Whole(t) => t.encode_fast(input, add_special),
            Inner::Flat(t) => t.encode_fast(input, add_special),
        }
        .map_err(failure)
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<i32>, Failure> {
        guard(Some(&self.dead), || {
            let encoding = self.encoding(text, add_special)?;
            Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
        })
    }

    pub fn encode_pair(&self, a: &str, b: &str, add_special: bool) -> Result<Encoded, Failure> {
        guard(Some(&self.dead), || {
            let encoding = self.encoding((a, b), add_special)?;
            Ok(Encoded {
                ids: encoding.get_ids().iter().map(|&id| id as i32).collect(),
                type_ids: encoding.get_type_ids().iter().map(|&id| id as i32).collect(),
            })
        })
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Failure> {
        guard(Some(&self.dead), || {
            match &self.inner {
                Inner::Whole(t) => t.decode(ids, skip_special),
                Inner::Flat(t) => t.decode(ids, skip_special),
            }
            .map_err(failure)
        })
    }

    pub fn token_to_id(&self, token: &str) -> Result<i64, Failure> {
        guard(Some(&self.dead), || {
            let id = match &self.inner {
                Inner::Whole(t) => t.token_to_id(token),
                Inner::Flat(t) => t.token_to_id(token),
            };
            Ok(id.map_or(-1, i64::from))
        })
    }
}

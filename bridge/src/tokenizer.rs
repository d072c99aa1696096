//! Hugging Face tokenizers, one text at a time. Const use from many threads is safe.

use std::sync::atomic::AtomicBool;

use tokenizers::Tokenizer;

use crate::{guard, Encoded, Failure};

pub struct TokenizerHandle {
    inner: Tokenizer,
    dead: AtomicBool,
}

fn failure(error: tokenizers::Error) -> Failure {
    Failure(error.to_string())
}

impl TokenizerHandle {
    pub fn from_json(json: &[u8]) -> Result<Self, Failure> {
        let mut inner = Tokenizer::from_bytes(json).map_err(failure)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failure)?;
        Ok(Self { inner, dead: AtomicBool::new(false) })
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<i32>, Failure> {
        guard(Some(&self.dead), || {
            // encode_fast skips the offsets, which nobody asks for.
            let encoding = self.inner.encode_fast(text, add_special).map_err(failure)?;
            Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
        })
    }

    pub fn encode_pair(&self, a: &str, b: &str, add_special: bool) -> Result<Encoded, Failure> {
        guard(Some(&self.dead), || {
            let encoding = self.inner.encode_fast((a, b), add_special).map_err(failure)?;
            Ok(Encoded {
                ids: encoding.get_ids().iter().map(|&id| id as i32).collect(),
                type_ids: encoding.get_type_ids().iter().map(|&id| id as i32).collect(),
            })
        })
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Failure> {
        guard(Some(&self.dead), || self.inner.decode(ids, skip_special).map_err(failure))
    }

    pub fn token_to_id(&self, token: &str) -> Result<i64, Failure> {
        guard(Some(&self.dead), || Ok(self.inner.token_to_id(token).map_or(-1, i64::from)))
    }
}

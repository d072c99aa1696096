//! BPE on tables that the C++ side has read and checked: token for token the algorithm of the crate's `BPE` (0.23, `models/bpe`),
//! which wants a map of owned strings and takes 50 ms to build its maps from the JSON of 49,152 tokens. Here all tokens are one text,
//! and tables hold numbers.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Result, Token};

use crate::Failure;

/// Words of up to this many bytes are remembered, and as many words, as in the crate.
const REMEMBERED_BYTES: usize = 256;
const REMEMBERED_WORDS: usize = 10_000;

#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    prev: isize,
    next: isize,
    len: usize, // bytes; 0: merged into the one before
}

type Word = Vec<(u32, usize)>; // ids and how many bytes they stand for

thread_local! {
    /// By model, then by word. A model's own number, so that two on one thread never mix.
    static REMEMBERED: RefCell<AHashMap<u64, AHashMap<String, Word>>> = RefCell::new(AHashMap::new());
}
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct FlatBpe {
    number: u64,
    text: String,
    spans: Vec<(u32, u32)>, // of token `id` in `text`; empty: unused
    hasher: RandomState,
    ids: HashTable<u32>,
    merges: AHashMap<(u32, u32), (u32, u32)>, // pair -> rank, what it becomes
    pub unk_token: Option<String>,
    pub fuse_unk: bool,
    pub byte_fallback: bool,
    pub ignore_merges: bool,
}

impl FlatBpe {
    /// `merges`: left, right and what they become, three numbers a merge, in the order of rank; of equal pairs the last one counts.
    pub fn new(text: &str, spans: &[u32], merges: &[u32]) -> std::result::Result<Self, Failure> {
        let hasher = RandomState::new();
        let spans: Vec<(u32, u32)> = spans.chunks_exact(2).map(|s| (s[0], s[1])).collect();
        let mut ids: HashTable<u32> = HashTable::with_capacity(spans.len());
        for (id, &(begin, end)) in spans.iter().enumerate() {
            let token = text.get(begin as usize..end as usize);
            let token = token.ok_or_else(|| Failure("tokens are not cut at characters".to_string()))?;
            if !token.is_empty() {
                // Room for all was made, so nothing is ever hashed again.
                ids.insert_unique(hasher.hash_one(token), id as u32, |_| unreachable!());
            }
        }
        let mut map = AHashMap::with_capacity(merges.len() / 3);
        for (rank, merge) in merges.chunks_exact(3).enumerate() {
            if merge.iter().any(|&id| id as usize >= spans.len()) {
                return Err(Failure("a merge of ids that do not exist".to_string()));
            }
            map.insert((merge[0], merge[1]), (rank as u32, merge[2]));
        }
        Ok(Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            text: text.to_string(),
            spans,
            hasher,
            ids,
            merges: map,
            unk_token: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
        })
    }

    fn token(&self, id: u32) -> &str {
        let (begin, end) = self.spans[id as usize];
        &self.text[begin as usize..end as usize]
    }

    fn id_of(&self, token: &str) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(token), |&id| self.token(id) == token).copied()
    }

    fn unk_id(&self, name: &str) -> Result<u32> {
        self.id_of(name).ok_or_else(|| format!("Unk token `{name}` not found in the vocabulary").into())
    }

    fn symbols(&self, word: &str) -> Result<Vec<Symbol>> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut unk: Option<(u32, usize)> = None;
        fn add(symbols: &mut Vec<Symbol>, id: u32, len: usize) {
            let at = symbols.len() as isize;
            if let Some(last) = symbols.last_mut() {
                last.next = at;
            }
            symbols.push(Symbol { id, prev: at - 1, next: -1, len });
        }
        let mut room = [0u8; 4];
        for c in word.chars() {
            let s: &str = c.encode_utf8(&mut room);
            if let Some(id) = self.id_of(s) {
                if let Some((unk_id, unk_len)) = unk.take() {
                    add(&mut symbols, unk_id, unk_len);
                }
                add(&mut symbols, id, s.len());
                continue;
            }
            if self.byte_fallback {
                let bytes: Option<Vec<u32>> = s.bytes().map(|b| self.id_of(&format!("<{b:#04X}>"))).collect();
                if let Some(bytes) = bytes {
                    // An unknown before it stays pending, as in the crate.
                    for id in bytes {
                        add(&mut symbols, id, 1);
                    }
                    continue;
                }
            }
            if let Some(name) = &self.unk_token {
                unk = match (unk, self.fuse_unk) {
                    (Some((id, len)), true) => Some((id, len + s.len())),
                    (Some((id, len)), false) => {
                        add(&mut symbols, id, len);
                        Some((self.unk_id(name)?, s.len()))
                    }
                    _ => Some((self.unk_id(name)?, s.len())),
                };
            }
        }
        if let Some((id, len)) = unk {
            add(&mut symbols, id, len);
        }
        Ok(symbols)
    }

    /// Merges of the lowest rank first, of those the leftmost.
    fn merge(&self, symbols: &mut [Symbol]) {
        let mut queue = BinaryHeap::with_capacity(symbols.len());
        for (at, pair) in symbols.windows(2).enumerate() {
            if let Some(&(rank, made)) = self.merges.get(&(pair[0].id, pair[1].id)) {
                queue.push(Reverse((rank, at, made)));
            }
        }
        while let Some(Reverse((_, at, made))) = queue.pop() {
            if symbols[at].len == 0 || symbols[at].next == -1 {
                continue;
            }
            let right_at = symbols[at].next as usize;
            let right = symbols[right_at];
            // Expired when what it was made for is gone.
            if self.merges.get(&(symbols[at].id, right.id)).is_none_or(|&(_, now)| now != made) {
                continue;
            }
            symbols[at].id = made;
            symbols[at].len += right.len;
            symbols[at].next = right.next;
            symbols[right_at].len = 0;
            if right.next > -1 {
                symbols[right.next as usize].prev = at as isize;
            }
            let current = symbols[at];
            if current.prev >= 0 {
                let prev = current.prev as usize;
                if let Some(&(rank, made)) = self.merges.get(&(symbols[prev].id, current.id)) {
                    queue.push(Reverse((rank, prev, made)));
                }
            }
            if current.next >= 0 {
                if let Some(&(rank, made)) = self.merges.get(&(current.id, symbols[current.next as usize].id)) {
                    queue.push(Reverse((rank, at, made)));
                }
            }
        }
    }

    fn word(&self, text: &str) -> Result<Word> {
        let mut symbols = self.symbols(text)?;
        self.merge(&mut symbols);
        Ok(symbols.iter().filter(|s| s.len != 0).map(|s| (s.id, s.len)).collect())
    }

    fn tokens(&self, word: &Word) -> Vec<Token> {
        let mut at = 0;
        let token = |&(id, len): &(u32, usize)| {
            at += len;
            Token::new(id, self.token(id).to_string(), (at - len, at))
        };
        word.iter().map(token).collect()
    }
}

impl Model for FlatBpe {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        if sequence.is_empty() {
            return Ok(Vec::new());
        }
        if self.ignore_merges {
            if let Some(id) = self.id_of(sequence) {
                return Ok(vec![Token::new(id, sequence.to_string(), (0, sequence.len()))]);
            }
        }
        REMEMBERED.with(|cell| {
            let mut models = cell.borrow_mut();
            let words = models.entry(self.number).or_default();
            if let Some(word) = words.get(sequence) {
                return Ok(self.tokens(word));
            }
            let word = self.word(sequence)?;
            let tokens = self.tokens(&word);
            if sequence.len() < REMEMBERED_BYTES && words.len() < REMEMBERED_WORDS {
                words.insert(sequence.to_string(), word);
            }
            Ok(tokens)
        })
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.id_of(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        ((id as usize) < self.spans.len()).then(|| self.token(id)).filter(|t| !t.is_empty()).map(str::to_string)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.ids.iter().map(|&id| (self.token(id).to_string(), id)).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.ids.len()
    }

    fn save(&self, _folder: &Path, _prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("these tables are only read".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

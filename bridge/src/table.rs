//! One text column of a parquet file, row by row. The file is read through a function of the C++ side, so that its rules for files
//! hold here too.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use crate::{guard, Failure, Rows};

/// Fills `out[0..n]` from `offset`; anything but 0 is a failure that the C++ side remembers.
type ReadAt = unsafe extern "C" fn(context: *const u8, offset: u64, out: *mut u8, n: usize) -> i32;

#[derive(Clone, Copy)]
struct Source {
    read: ReadAt,
    context: *const u8,
    size: u64,
}
// SAFETY: the C++ side promises that `read` may be called from any thread and that `context` outlives the table.
unsafe impl Send for Source {}
unsafe impl Sync for Source {}

impl Source {
    fn bytes(&self, offset: u64, n: usize) -> io::Result<Vec<u8>> {
        // Checked before anything is allocated: `n` came out of the file.
        if offset.checked_add(n as u64).is_none_or(|end| end > self.size) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a range ends past the file"));
        }
        let mut out = vec![0; n];
        // SAFETY: `out` has n bytes; see Source for the context.
        match unsafe { (self.read)(self.context, offset, out.as_mut_ptr(), n) } {
            0 => Ok(out),
            _ => Err(io::Error::other("the file cannot be read")),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Source {
    type T = Cursor;

    fn get_read(&self, start: u64) -> ParquetResult<Cursor> {
        Ok(Cursor { source: *self, at: start, held: Vec::new(), taken: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.bytes(start, length).map(Bytes::from).map_err(ParquetError::from)
    }
}

pub struct Cursor {
    source: Source,
    at: u64,
    held: Vec<u8>,
    taken: usize,
}

impl Read for Cursor {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.held.len() {
            let n = (self.source.size.saturating_sub(self.at)).min(64 * 1024) as usize;
            self.held = self.source.bytes(self.at, n)?;
            self.at += n as u64;
            self.taken = 0;
        }
        let n = out.len().min(self.held.len() - self.taken);
        out[..n].copy_from_slice(&self.held[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

pub struct TableHandle {
    file: Arc<SerializedFileReader<Source>>,
    column: usize,
    nullable: bool,
    group: usize,
    reader: Option<ColumnReaderImpl<ByteArrayType>>,
    dead: AtomicBool,
}

fn failure(error: ParquetError) -> Failure {
    Failure(error.to_string())
}

impl TableHandle {
    /// SAFETY: `read` is a ReadAt and `context` its argument; both outlive the handle.
    pub unsafe fn open(read: usize, context: usize, size: u64, column: &str) -> Result<Self, Failure> {
        let read: ReadAt = std::mem::transmute::<usize, ReadAt>(read);
        let source = Source { read, context: context as *const u8, size };
        let file = SerializedFileReader::new(source).map_err(failure)?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let columns = schema.columns();
        let Some(index) = columns.iter().position(|c| c.path().string() == column) else {
            let names: Vec<String> = columns.iter().take(20).map(|c| format!("{:?}", c.path().string())).collect();
            return Err(Failure(format!("no column {column:?}; it has {}", names.join(", "))));
        };
        let found = &columns[index];
        if found.physical_type() != PhysicalType::BYTE_ARRAY || found.max_rep_level() != 0 || found.max_def_level() > 1
        {
            return Err(Failure(format!("column {column:?} does not hold one text a row")));
        }
        let nullable = found.max_def_level() > 0;
        Ok(Self { file: Arc::new(file), column: index, nullable, group: 0, reader: None, dead: AtomicBool::new(false) })
    }

    /// The next rows, at most `most` and at most `most_bytes` of text; none when the table is at its end.
    pub fn next_rows(&mut self, most: usize, most_bytes: usize) -> Result<Rows, Failure> {
        let Self { file, column, nullable, group, reader, dead } = self;
        guard(Some(dead), || loop {
            let Some(open) = reader else {
                if *group == file.num_row_groups() {
                    return Ok(Rows { texts: Vec::new() });
                }
                let row_group = file.get_row_group(*group).map_err(failure)?;
                *group += 1;
                match row_group.get_column_reader(*column).map_err(failure)? {
                    ColumnReader::ByteArrayColumnReader(r) => *reader = Some(r),
                    _ => return Err(Failure("the column does not hold text".to_string())),
                }
                continue;
            };
            let mut levels: Vec<i16> = Vec::new();
            let mut values: Vec<ByteArray> = Vec::new();
            let (records, _, _) = open.read_records(most, Some(&mut levels), None, &mut values).map_err(failure)?;
            if records == 0 {
                *reader = None;
                continue;
            }
            return collect(*nullable, records, &levels, &values, most_bytes);
        })
    }
}

fn collect(
    nullable: bool,
    records: usize,
    levels: &[i16],
    values: &[ByteArray],
    most_bytes: usize,
) -> Result<Rows, Failure> {
    // Equal values share their bytes through a dictionary: a small file may stand for very much text.
    let mut total = 0usize;
    let mut rows = Rows { texts: Vec::with_capacity(records) };
    let mut next = values.iter();
    for row in 0..records {
        if nullable && levels.get(row).copied().unwrap_or(0) == 0 {
            rows.texts.push(String::new());
            continue;
        }
        let value = next.next().ok_or_else(|| Failure("fewer values than rows".to_string()))?;
        total = total.saturating_add(value.len());
        if total > most_bytes {
            return Err(Failure(format!("more than {most_bytes} bytes of text in {records} rows")));
        }
        rows.texts.push(value.as_utf8().map_err(|_| Failure("a row is not UTF-8".to_string()))?.to_string());
    }
    Ok(rows)
}

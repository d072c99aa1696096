//! Chat templates: Jinja as Hugging Face configures it (trim_blocks, lstrip_blocks, Python methods on values, raise_exception,
//! strftime_now, its own tojson). Steps and output bytes are bounded here; memory and time are bounded by the caller, who runs
//! render() in a process of its own (halftone/text/sandbox.h).

use std::ffi::CString;
use std::io;
use std::sync::atomic::AtomicBool;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use crate::{guard, Failure, RenderStatus, Rendered};

const NAME: &str = "chat";
const NOW: &str = "__halftone_now";
/// Marks an error as the template's own refusal; no template can write it, because the source is refused if it holds a NUL.
const REFUSAL: &str = "\0refused\0";

pub struct TemplateHandle {
    environment: Environment<'static>,
    dead: AtomicBool,
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

impl TemplateHandle {
    pub fn from_source(source: &str) -> Result<Self, Failure> {
        let mut environment = Environment::new();
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| Failure(describe(&e)))?;
        environment.set_syntax(syntax);
        environment.set_recursion_limit(200);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        // Numbers show as Python shows them; the rest of the engine's own formatting already does.
        environment.set_formatter(|out, state, value| {
            if value.kind() == ValueKind::Number && !value.is_integer() {
                let shown = python_float(f64::try_from(value.clone())?);
                return minijinja::escape_formatter(out, state, &Value::from(shown));
            }
            minijinja::escape_formatter(out, state, value)
        });
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, source.to_string()).map_err(|e| Failure(describe(&e)))?;
        Ok(Self { environment, dead: AtomicBool::new(false) })
    }

    pub fn render(&self, variables: &str, steps: u64, output_bytes: u64, now: i64) -> Rendered {
        let outcome = guard(Some(&self.dead), || Ok(self.render_inner(variables, steps, output_bytes, now)));
        outcome.unwrap_or_else(|f| Rendered { status: RenderStatus::Failed, text: f.0 })
    }

    fn render_inner(&self, variables: &str, steps: u64, output_bytes: u64, now: i64) -> Rendered {
        let failed = |text: String| Rendered { status: RenderStatus::Failed, text };
        let mut object: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(variables) {
            Ok(object) => object,
            Err(e) => return failed(e.to_string()),
        };
        object.insert(NOW.to_string(), now.into());
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(steps));
        let template = match environment.get_template(NAME) {
            Ok(template) => template,
            Err(e) => return failed(describe(&e)),
        };
        let mut out = Bounded { bytes: Vec::new(), limit: output_bytes as usize, full: false };
        let result = template.render_captured_to(Value::from(Serde(object)), &mut out).map(|_| ());
        if out.full {
            let text = format!("the output is longer than {output_bytes} bytes");
            return Rendered { status: RenderStatus::Budget, text };
        }
        match result {
            Ok(()) => match String::from_utf8(out.bytes) {
                Ok(text) => Rendered { status: RenderStatus::Ok, text },
                Err(_) => failed("the output is not UTF-8".to_string()),
            },
            Err(e) if e.kind() == ErrorKind::OutOfFuel => {
                Rendered { status: RenderStatus::Budget, text: format!("more than {steps} steps") }
            }
            Err(e) => {
                let text = describe(&e);
                match text.split(REFUSAL).nth(1) {
                    Some(reason) => Rendered { status: RenderStatus::Refused, text: reason.to_string() },
                    None => failed(text),
                }
            }
        }
    }
}

/// A writer that stops the rendering once `limit` bytes were written.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.limit - self.bytes.len() {
            self.full = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}{REFUSAL}")))
}

/// datetime.now().strftime(format): local time, C locale.
fn strftime_now(state: &State, format: String) -> Result<String, Error> {
    let bad = || Error::new(ErrorKind::InvalidOperation, "strftime_now: unusable format");
    let now = state.lookup(NOW).and_then(|v| i64::try_from(v).ok()).unwrap_or(0) as libc::time_t;
    if format.is_empty() {
        return Ok(format);
    }
    if format.len() > 256 {
        return Err(bad());
    }
    // The trailing mark tells "nothing to print" (%p in some locales) from "buffer too small", which both return 0.
    let pattern = CString::new(format + "|").map_err(|_| bad())?;
    let mut buffer = vec![0u8; 16384];
    // SAFETY: `tm` is plain data that localtime_r fills; strftime writes at most buffer.len() bytes.
    let written = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut tm).is_null() {
            return Err(bad());
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), pattern.as_ptr(), &tm)
    };
    if written == 0 {
        return Err(bad());
    }
    buffer.truncate(written - 1);
    String::from_utf8(buffer).map_err(|_| bad())
}

/// json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False), without the HTML escapes of Jinja.
fn tojson(value: &Value, positional: Option<Value>, options: Kwargs) -> Result<String, Error> {
    // transformers declares tojson(x, ensure_ascii=False, indent=None, ...): a bare number is read as the indent that people mean.
    let mut indent = options.get::<Option<Value>>("indent")?;
    let mut ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    if let Some(first) = positional {
        match first.kind() {
            ValueKind::Bool => ensure_ascii = first.is_true(),
            _ => indent = indent.or(Some(first)),
        }
    }
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let indent = match indent {
        Some(v) if v.is_none() || v.is_undefined() => None,
        Some(v) => match v.as_str() {
            Some(text) => Some(text.to_string()),
            None => {
                let n = i64::try_from(v)?.clamp(0, 32);
                Some(" ".repeat(n as usize))
            }
        },
        None => None,
    };
    let (mut item, mut key) =
        if indent.is_some() { (",".to_string(), ": ".to_string()) } else { (", ".to_string(), ": ".to_string()) };
    if let Some(pair) = options.get::<Option<Value>>("separators")? {
        if !pair.is_none() {
            item = pair.get_item_by_index(0)?.to_string();
            key = pair.get_item_by_index(1)?.to_string();
        }
    }
    options.assert_all_used()?;
    let mut writer = JsonWriter { out: String::new(), indent, item, key, ensure_ascii, sort_keys };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct JsonWriter {
    out: String,
    indent: Option<String>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl JsonWriter {
    fn newline(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ensure_ascii && (c as u32) > 0x7e) => {
                    let mut units = [0u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn scalar(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => {
                let x = f64::try_from(value.clone())?;
                let name = if x > 0.0 { "Infinity" } else { "-Infinity" };
                self.out.push_str(&match (x.is_nan(), x.is_infinite()) {
                    (true, _) => "NaN".to_string(),
                    (_, true) => name.to_string(),
                    _ => python_float(x),
                });
            }
            _ => {
                let detail = format!("{} is not JSON serializable", value.kind());
                return Err(Error::new(ErrorKind::BadSerialization, detail));
            }
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > 64 {
            return Err(Error::new(ErrorKind::BadSerialization, "nested deeper than 64"));
        }
        if let Some(text) = value.as_str() {
            self.string(text);
            return Ok(());
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                self.out.push('[');
                let mut empty = true;
                for item in value.try_iter()? {
                    if !empty {
                        self.out.push_str(&self.item.clone());
                    }
                    empty = false;
                    self.newline(depth + 1);
                    self.value(&item, depth + 1)?;
                }
                if !empty {
                    self.newline(depth);
                }
                self.out.push(']');
            }
            ValueKind::Map => {
                self.out.push('{');
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                let empty = keys.is_empty();
                for (i, key) in keys.iter().enumerate() {
                    if i > 0 {
                        self.out.push_str(&self.item.clone());
                    }
                    self.newline(depth + 1);
                    match key.as_str() {
                        Some(text) => self.string(text),
                        None => {
                            self.out.push('"');
                            self.scalar(key)?;
                            self.out.push('"');
                        }
                    }
                    self.out.push_str(&self.key.clone());
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                if !empty {
                    self.newline(depth);
                }
                self.out.push('}');
            }
            _ => self.scalar(value)?,
        }
        Ok(())
    }
}

/// repr(float) of Python: shortest digits, an exponent below 1e-4 and from 1e16 on.
fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_string();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let text = x.to_string();
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}

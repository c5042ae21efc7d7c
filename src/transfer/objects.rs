//! Where one JSON object ends and the next begins, and on which line.
//!
//! ```text
//!   {…}            one object a line, or over several, with nothing but space between them
//!   {…}
//!   [{…},          and arrays of objects, which is what `sqlite3 -json` prints of each query
//!   {…}]
//! ```
//!
//! It finds the end of an object by counting braces outside of strings, and leaves what is in it to the JSON library. So
//! only one object is in memory at a time, with a bound on its length, and every error knows its line.

use std::io::{BufRead, ErrorKind};

use crate::error::{Error, Result};
use crate::limits::ROW_MAX_BYTES;

/// The longest object: the longest row, each byte of it written as `\u00XX`.
const OBJECT_MAX_BYTES: usize = 6 * ROW_MAX_BYTES;

/// How much of a buffer is kept from one object for the next.
const KEPT_BYTES: usize = 1 << 20;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The objects of an input, one by one.
pub(super) struct Objects<R> {
    from: R,
    object: Vec<u8>,
    /// The line that is being read, from 1.
    line: u64,
    place: Place,
}

/// Where in the input it is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Outside,
    /// Behind the bracket that opens an array.
    BeforeFirst,
    /// Behind a comma.
    BeforeNext,
    /// Behind an object of an array.
    Behind,
}

/// An object, and the line on which it begins.
pub(super) struct Object<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) line: u64,
}

impl<R: BufRead> Objects<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, object: Vec::new(), line: 1, place: Place::Start }
    }

    /// The next object; `None` at the end of the input.
    pub(super) fn next(&mut self) -> Result<Option<Object<'_>>> {
        if self.place == Place::Start {
            self.pass_byte_order_mark()?;
            self.place = Place::Outside;
        }
        while let Some(byte) = self.peek()? {
            self.place = match (byte, self.place) {
                (b'\n', place) => {
                    self.line += 1;
                    place
                }
                (b' ' | b'\t' | b'\r', place) => place,
                (b'{', Place::Outside) => return self.object(Place::Outside).map(Some),
                (b'{', Place::BeforeFirst | Place::BeforeNext) => return self.object(Place::Behind).map(Some),
                (b'[', Place::Outside) => Place::BeforeFirst,
                (b']', Place::BeforeFirst | Place::Behind) => Place::Outside,
                (b',', Place::Behind) => Place::BeforeNext,
                _ => return Err(self.refuse(self.unexpected(byte))),
            };
            self.from.consume(1);
        }
        match self.place {
            Place::Start | Place::Outside => Ok(None),
            _ => Err(self.refuse("ends before the array of rows does".into())),
        }
    }

    fn unexpected(&self, byte: u8) -> String {
        let wanted = match self.place {
            Place::Start | Place::Outside => "an object, or an array of objects",
            Place::BeforeFirst | Place::BeforeNext => "an object",
            Place::Behind => "a comma, or the end of the array",
        };
        format!("has {:?} where {wanted} is wanted", char::from(byte))
    }

    /// The object that begins here.
    fn object(&mut self, place_behind: Place) -> Result<Object<'_>> {
        let line = self.line;
        self.object.clear();
        self.object.shrink_to(KEPT_BYTES);
        let mut end = End::default();
        loop {
            let buffer = fill(&mut self.from)?;
            if buffer.is_empty() {
                return Err(at_line(line, input("ends in the middle of this row".into())));
            }
            let found = end.find(buffer);
            let bytes = buffer.get(..found.unwrap_or(buffer.len())).unwrap_or(buffer);
            let (used, lines) = (bytes.len(), bytes.split(|byte| *byte == b'\n').skip(1).count());
            if self.object.len().saturating_add(used) > OBJECT_MAX_BYTES {
                let bytes = self.object.len().saturating_add(used);
                return Err(at_line(line, Error::TooLarge { field: "row", bytes, max: OBJECT_MAX_BYTES }));
            }
            self.object.extend_from_slice(bytes);
            self.line += u64::try_from(lines).unwrap_or(0);
            self.from.consume(used);
            if found.is_some() {
                self.place = place_behind;
                return Ok(Object { bytes: &self.object, line });
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(fill(&mut self.from)?.first().copied())
    }

    /// Some programs put one before UTF-8.
    fn pass_byte_order_mark(&mut self) -> Result<()> {
        for (nth, wanted) in BYTE_ORDER_MARK.into_iter().enumerate() {
            match self.peek()? {
                Some(byte) if byte == wanted => self.from.consume(1),
                None | Some(_) if nth == 0 => return Ok(()),
                _ => return Err(self.refuse("begins with half a byte order mark".into())),
            }
        }
        Ok(())
    }

    fn refuse(&self, reason: String) -> Error {
        at_line(self.line, input(reason))
    }
}

/// Looks for the end of an object, in pieces.
#[derive(Default)]
struct End {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl End {
    /// Where in this piece the object ends, the brace included. One with a line that ends in the middle of a text, which JSON
    /// does not allow, ends there: whoever reads it says what is wrong, and nobody gathers what comes behind.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    b'\n' => return Some(at + 1),
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' => self.depth += 1,
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// What there is to read; nothing at the end.
fn fill(from: &mut impl BufRead) -> Result<&[u8]> {
    loop {
        match from.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(unread(source)),
        }
    }
    // Once more, as a loop cannot give away what it borrows: what is there already is not read again.
    from.fill_buf().map_err(unread)
}

fn unread(source: std::io::Error) -> Error {
    Error::Io { action: "read the rows to import", path: None, source }
}

fn input(reason: String) -> Error {
    Error::InvalidInput { field: "input", reason }
}

/// This error of the row or the input, with the line it is on.
pub(super) fn at_line(line: u64, source: Error) -> Error {
    Error::Import { line, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn objects(input: &[u8], buffer_bytes: usize) -> Result<Vec<(u64, String)>> {
        let mut objects = Objects::new(BufReader::with_capacity(buffer_bytes, input));
        let mut found = Vec::new();
        while let Some(object) = objects.next()? {
            found.push((object.line, String::from_utf8_lossy(object.bytes).into_owned()));
        }
        Ok(found)
    }

    #[test]
    fn objects_are_found_whatever_the_buffer() {
        let input =
            "\u{feff}\n{\"a\":\"}\\\"{\\\\\"}\r\n\n{\"b\":{\n\"c\":{}}} {}\n[]\n[{\"d\":1},\n{\"e\":[\"]\"]}]\n[ {} ]";
        let expected = [
            (2, "{\"a\":\"}\\\"{\\\\\"}"),
            (4, "{\"b\":{\n\"c\":{}}}"),
            (5, "{}"),
            (7, "{\"d\":1}"),
            (8, "{\"e\":[\"]\"]}"),
            (9, "{}"),
        ]
        .map(|(line, object)| (line, object.to_owned()));
        for buffer_bytes in 1..input.len() {
            assert_eq!(objects(input.as_bytes(), buffer_bytes).unwrap(), expected);
        }
        assert_eq!(objects(b"", 1).unwrap(), []);
    }

    #[test]
    fn what_is_no_row_is_refused_with_its_line() {
        let refused = [
            ("\n\n7", "line 3: input has '7' where an object, or an array of objects is wanted"),
            ("{},{}", "line 1: input has ',' where an object, or an array of objects is wanted"),
            ("[{}\n{}]", "line 2: input has '{' where a comma, or the end of the array is wanted"),
            ("[{},\n]", "line 2: input has ']' where an object is wanted"),
            ("[{}\n", "line 2: input ends before the array of rows does"),
            ("{}\n{\"a\":\n\"}", "line 2: input ends in the middle of this row"),
            ("{}}", "line 1: input has '}' where an object, or an array of objects is wanted"),
            ("\u{fed}", "line 1: input has 'à' where an object, or an array of objects is wanted"),
        ];
        for (input, words) in refused {
            assert_eq!(objects(input.as_bytes(), 3).unwrap_err().to_string(), words);
        }
        assert!(objects(&[0xEF, 0xBB, b'{'], 9).unwrap_err().to_string().contains("byte order mark"));
    }
}

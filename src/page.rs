//! Lists, a page at a time.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

use crate::db::TableDef;
use crate::db::key::KeyRange;
use crate::error::{Error, Result};
use crate::limits::PAGE_DEFAULT_ITEMS;
use crate::tx::ReadTx;

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins, to go into the same filter; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Where a page ended. It stays good whatever is written meanwhile: nothing that was there all the time is left out or
/// comes twice. As text it is hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        let digits = digits.collect::<Option<Vec<u8>>>().filter(|digits| digits.len().is_multiple_of(2));
        let digits = digits.ok_or_else(|| not_a_cursor("is not hexadecimal"))?;
        Ok(Self(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()))
    }
}

fn not_a_cursor(reason: &str) -> Error {
    Error::InvalidInput { field: "cursor", reason: format!("{reason}; take it from the page before") }
}

/// What every list can be asked: which end first, how much, from where.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Paging {
    pub(crate) newest_first: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<Cursor>,
}

impl ReadTx<'_> {
    /// A page of what `pick` makes of the keys in this range of this table, or leaves out.
    pub(crate) fn page<T>(
        &self,
        table: &TableDef,
        range: KeyRange,
        paging: &Paging,
        mut pick: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let limit = paging.limit.unwrap_or(PAGE_DEFAULT_ITEMS);
        if limit == 0 {
            return Err(Error::InvalidInput { field: "limit", reason: "is 0; a page has at least 1 item".into() });
        }
        let range = rest_of(table, range, paging)?;
        let mut keys = self.tables().keys(table, &range)?;
        let mut next = || if paging.newest_first { keys.next_back() } else { keys.next() };
        let mut items = Vec::new();
        while let Some(key) = next() {
            let key = key?;
            items.extend(pick(&key)?);
            if items.len() == limit {
                let more = next().transpose()?.is_some();
                return Ok(Page { items, next: more.then_some(Cursor(key)) });
            }
        }
        Ok(Page { items, next: None })
    }
}

/// What of the range lies behind the cursor.
fn rest_of(table: &TableDef, range: KeyRange, paging: &Paging) -> Result<KeyRange> {
    let Some(Cursor(key)) = &paging.after else { return Ok(range) };
    let is_of_table = table.key_bytes.is_none_or(|bytes| bytes == key.len());
    if !is_of_table || !range.contains(key) {
        return Err(not_a_cursor("is of another list"));
    }
    let behind = Bound::Excluded(key.clone());
    Ok(if paging.newest_first { (range.0, behind) } else { (behind, range.1) })
}

//! Strings of several dictionaries, in one.
//!
//! A dictionary serves a whole row group of a file, so many batches have the same few. What was found
//! of one is kept as long as it is of use: where its strings are in the joint dictionary.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, StringArray};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

use super::{Order, nulls};

/// Dictionaries that are kept beyond twice those of one batch.
const SPARE: usize = 8;

/// The joint dictionary of a column.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: Vec<Known>,
    numbers: HashMap<Box<str>, i32>,
    joint: Vec<Box<str>>,
    /// `joint` as an array, if nothing has come since.
    array: Option<ArrayRef>,
}

/// A dictionary, and where its strings are in the joint one.
#[derive(Debug)]
struct Known {
    values: ArrayRef,
    numbers: Arc<[i32]>,
}

impl Texts {
    /// The strings of the rows, or nothing if the dictionaries are too large or unlike those that
    /// we store.
    pub(super) fn gather(
        &mut self,
        columns: &[&ArrayRef],
        order: &Order,
    ) -> Result<Option<ArrayRef>, ArrowError> {
        let parts = columns
            .iter()
            .map(|column| column.as_dictionary_opt::<Int32Type>());
        let Some(parts) = parts.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let first = parts[0].values();
        let one = parts.iter().all(|part| same(part.values(), first));
        let values = match one {
            true => Arc::clone(first),
            false => match self.joined(&parts, order.rows()) {
                Some(values) => values,
                None => return Ok(None),
            },
        };
        let keys: Vec<&[i32]> = parts.iter().map(|part| &part.keys().values()[..]).collect();
        let rows: Vec<i32> = match one {
            true => order
                .pick(keys.len(), |part, place| keys[part][place])
                .collect(),
            false => {
                let numbers: Vec<Arc<[i32]>> = parts
                    .iter()
                    .filter_map(|part| self.numbers_of(part.values()))
                    .collect();
                let number = |part: usize, place: usize| {
                    // the key of a null may be anything
                    let key = usize::try_from(keys[part][place]).unwrap_or(usize::MAX);
                    numbers[part].get(key).copied().unwrap_or(0)
                };
                order.pick(keys.len(), number).collect()
            }
        };
        let nulls = nulls(parts.iter().map(|part| part.keys().nulls()), order);
        let keys = PrimitiveArray::<Int32Type>::new(rows.into(), nulls);
        Ok(Some(Arc::new(DictionaryArray::try_new(keys, values)?)))
    }

    /// Makes sure that the dictionaries of all parts are known; the joint one. Nothing if they have
    /// more strings than the rows could, of which most would be joined in vain.
    fn joined(&mut self, parts: &[&DictionaryArray<Int32Type>], rows: usize) -> Option<ArrayRef> {
        let mut used: Vec<&ArrayRef> = Vec::new();
        for part in parts {
            if !used.iter().any(|values| same(values, part.values())) {
                used.push(part.values());
            }
        }
        if used.iter().map(|values| values.len()).sum::<usize>() > rows {
            return None;
        }
        if self.known.len() > 2 * used.len() + SPARE || self.joint.len() > 4 * rows {
            *self = Self::default();
        }
        for values in used {
            if self.numbers_of(values).is_none() {
                self.join(values)?;
            }
        }
        let array = self.array.get_or_insert_with(|| {
            let texts = self.joint.iter().map(|text| &**text);
            Arc::new(StringArray::from_iter_values(texts))
        });
        Some(Arc::clone(array))
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    fn numbers_of(&self, values: &ArrayRef) -> Option<Arc<[i32]>> {
        let known = self.known.iter().find(|known| same(&known.values, values));
        known.map(|known| Arc::clone(&known.numbers))
    }

    fn join(&mut self, values: &ArrayRef) -> Option<()> {
        let texts = values.as_string_opt::<i32>()?;
        if texts.null_count() > 0 {
            return None;
        }
        let mut numbers = Vec::with_capacity(texts.len());
        for text in texts.iter().flatten() {
            let number = match self.numbers.get(text) {
                Some(number) => *number,
                None => {
                    let number = i32::try_from(self.joint.len()).ok()?;
                    self.numbers.insert(text.into(), number);
                    self.joint.push(text.into());
                    self.array = None;
                    number
                }
            };
            numbers.push(number);
        }
        self.known.push(Known {
            values: Arc::clone(values),
            numbers: numbers.into(),
        });
        Some(())
    }
}

/// Whether two dictionaries are one in memory.
fn same(one: &ArrayRef, other: &ArrayRef) -> bool {
    Arc::ptr_eq(one, other)
}

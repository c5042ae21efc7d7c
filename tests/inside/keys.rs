//! The order of keys is the order of what they are made of.

use std::ops::{Bound, RangeBounds};

use proptest::prelude::*;

use super::{must_fail, try_property};
use crate::Timestamp;
use crate::db::key::{after_prefix, between, key, prefix, text_end, text_of};
use crate::planted::Bug;

/// Times on both sides of 1970 and around byte boundaries.
fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), -3_i64..3, Just(i64::MIN), Just(i64::MAX)].prop_map(Timestamp::from_micros)
}

/// Texts that are prefixes of each other, or differ only in zero bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\u{0}\u{1}ab]{0,4}", Just(String::new())]
}

type Parts = (u8, String, Timestamp, u64);

fn parts() -> impl Strategy<Value = Parts> {
    (0_u8..3, text(), moment(), prop_oneof![any::<u64>(), 0_u64..3])
}

fn key_of((status, role, at, id): &Parts) -> Vec<u8> {
    key((*status, role.as_str(), *at, *id))
}

fn keys_sort_as_their_parts((one, other): (Parts, Parts)) -> Result<(), TestCaseError> {
    prop_assert_eq!(key_of(&one).cmp(&key_of(&other)), one.cmp(&other));
    Ok(())
}

#[test]
fn keys_sort_as_their_parts_do() {
    try_property(4_000, &(parts(), parts()), keys_sort_as_their_parts).unwrap();
}

#[test]
fn control_a_kept_sign_bit_breaks_the_order() {
    must_fail(Bug::SignBitKept, &(parts(), parts()), keys_sort_as_their_parts);
}

#[test]
fn control_an_unescaped_zero_byte_breaks_the_order() {
    must_fail(Bug::NulNotEscaped, &(parts(), parts()), keys_sort_as_their_parts);
}

#[test]
fn a_prefix_range_holds_exactly_the_keys_that_begin_with_it() {
    let property = |(one, other): (Parts, Parts)| {
        let range = prefix((one.0, one.1.as_str()));
        let holds = range.contains(&key_of(&other));
        prop_assert_eq!(holds, (one.0, &one.1) == (other.0, &other.1));
        Ok(())
    };
    try_property(4_000, &(parts(), parts()), property).unwrap();
}

#[test]
fn a_range_between_two_values_holds_both_and_what_lies_between() {
    let property = |(status, role, first, last, other): (u8, String, Timestamp, Timestamp, Parts)| {
        let range = between(&(status, role.as_str()), first, last);
        let empty = matches!(&range, (Bound::Included(from), Bound::Excluded(to)) if from >= to);
        let holds = !empty && range.contains(&key_of(&other));
        prop_assert_eq!(holds, (status, &role) == (other.0, &other.1) && (first..=last).contains(&other.2));
        Ok(())
    };
    try_property(4_000, &(0_u8..3, text(), moment(), moment(), parts()), property).unwrap();
}

#[test]
fn a_text_comes_back_from_its_key() {
    let property = |(text, rest): (String, Vec<u8>)| {
        let part = key(text.as_str());
        prop_assert_eq!(text_of(&part), Some(text));
        let followed = [part.clone(), rest].concat();
        prop_assert_eq!(text_end(&followed), Some(part.len()));
        Ok(())
    };
    try_property(2_000, &(text(), any::<Vec<u8>>()), property).unwrap();
}

#[test]
fn bytes_that_are_no_text_are_no_text() {
    let property = |bytes: Vec<u8>| {
        if let Some(text) = text_of(&bytes) {
            prop_assert_eq!(key(text.as_str()), bytes);
        }
        Ok(())
    };
    try_property(4_000, &prop::collection::vec(prop_oneof![Just(0), Just(0xFF), any::<u8>()], 0..12), property)
        .unwrap();
}

#[test]
fn behind_a_prefix_comes_what_is_next_to_it_or_nothing() {
    assert_eq!(after_prefix(&[1, 2]), Bound::Excluded(vec![1, 3]));
    assert_eq!(after_prefix(&[1, 0xFF, 0xFF]), Bound::Excluded(vec![2]));
    assert_eq!(after_prefix(&[0xFF, 0xFF]), Bound::Unbounded);
}

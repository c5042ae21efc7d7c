//! How much of everything the harnesses try: `KHALA_CAMPAIGN=20` in the environment tries twenty times as many inputs,
//! schedules and whatever else is counted.

/// This number, as many times over as the campaign wants.
pub(super) fn times(count: u64) -> u64 {
    let Ok(text) = std::env::var("KHALA_CAMPAIGN") else { return count };
    let factor: u64 = text.parse().unwrap_or_else(|_| panic!("KHALA_CAMPAIGN wants a number, not {text:?}"));
    count * factor.max(1)
}

//! Whether a history is linearizable: whether there is an order of its calls in which each gives the answer it gave, and
//! in which no call stands before one that had returned when it was made.
//!
//! ```text
//!   thread 1   ├─ write 1 ─┤      ├─ read: 1 ─┤         write 1, read: 1, write 2   explains it
//!   thread 2            ├──── write 2 ────┤
//! ```
//!
//! Wing and Gong's search ("Testing and verifying concurrent objects", 1993) with Lowe's memory ("Testing for
//! linearizability", 2017). Next in the order can be each call that was made before any other that is left returned. Each
//! is tried, and what it leaves is searched in the same way. Two orders of the same calls that leave the same state have
//! the same future, so the second is not followed.

use std::collections::HashMap;

/// What is under test, as a value.
pub(super) trait State: Clone + PartialEq {
    type Call;

    /// The states that a call can leave which was answered as this one was; none if nothing in this state can give that
    /// answer.
    fn after(&self, call: &Self::Call) -> Vec<Self>;
}

/// A call and its answer, and when it was made and returned.
#[derive(Clone, Debug)]
pub(super) struct Span<C> {
    pub(super) call: C,
    pub(super) called: u64,
    pub(super) returned: u64,
}

/// There is no order: the longest beginning of one, and the calls of which none can come next, by their places.
#[derive(Debug, PartialEq)]
pub(super) struct NoOrder {
    pub(super) longest: Vec<usize>,
    pub(super) stuck: Vec<usize>,
}

/// How many calls a history may have.
pub(super) const MOST_CALLS: usize = 64;

/// An order that explains the history, or that there is none.
pub(super) fn order<S: State>(start: &S, history: &[Span<S::Call>]) -> Result<Vec<usize>, NoOrder> {
    assert!(history.len() <= MOST_CALLS, "a set of calls is a number of 64 bits");
    let mut search = Search { history, met: HashMap::new(), order: Vec::new(), longest: Vec::new() };
    if search.goes_on_from(start, 0) {
        return Ok(search.order);
    }
    let done = search.longest.iter().fold(0, |done, at| done | 1 << at);
    Err(NoOrder { stuck: search.next(done).collect(), longest: search.longest })
}

struct Search<'a, S: State> {
    history: &'a [Span<S::Call>],
    /// The states met after these calls.
    met: HashMap<u64, Vec<S>>,
    order: Vec<usize>,
    longest: Vec<usize>,
}

impl<S: State> Search<'_, S> {
    /// Those of the calls not done that can come next.
    fn next(&self, done: u64) -> impl Iterator<Item = usize> + use<'_, S> {
        let left = move || (0..self.history.len()).filter(move |at| done & (1 << at) == 0);
        let first_return = left().map(|at| self.history[at].returned).min().unwrap_or(u64::MAX);
        left().filter(move |at| self.history[*at].called < first_return)
    }

    fn goes_on_from(&mut self, state: &S, done: u64) -> bool {
        if self.order.len() == self.history.len() {
            return true;
        }
        let met = self.met.entry(done).or_default();
        if met.contains(state) {
            return false;
        }
        met.push(state.clone());
        let next: Vec<_> = self.next(done).collect();
        for at in next {
            self.order.push(at);
            for after in state.after(&self.history[at].call) {
                if self.longest.len() < self.order.len() {
                    self.longest.clone_from(&self.order);
                }
                if self.goes_on_from(&after, done | (1 << at)) {
                    return true;
                }
            }
            self.order.pop();
        }
        false
    }
}

/// Histories of a register, whose answer is known.
#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Register(u8);

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u8),
        Read(u8),
        /// Puts the second in the place of the first; whether it did.
        Exchange(u8, u8, bool),
    }

    use Call::{Exchange, Read, Write};

    impl State for Register {
        type Call = Call;

        fn after(&self, call: &Call) -> Vec<Self> {
            let after = match *call {
                Write(value) => Some(value),
                Read(value) => (value == self.0).then_some(value),
                Exchange(from, to, true) => (from == self.0).then_some(to),
                Exchange(from, _, false) => (from != self.0).then_some(self.0),
            };
            after.map(Register).into_iter().collect()
        }
    }

    /// Each as (called, returned, what), on a register that holds 0.
    fn is_linearizable(history: &[(u64, u64, Call)]) -> bool {
        let history: Vec<_> = history.iter().map(|&(called, returned, call)| Span { call, called, returned }).collect();
        let found = order(&Register(0), &history);
        if let Ok(order) = &found {
            let mut state = Register(0);
            for (nth, at) in order.iter().enumerate() {
                state = state.after(&history[*at].call)[0];
                assert!(order[..nth].iter().all(|before| history[*before].called < history[*at].returned));
            }
            assert_eq!(order.len(), history.len());
        }
        found.is_ok()
    }

    #[test]
    fn calls_one_after_the_other_have_one_order() {
        assert!(is_linearizable(&[]));
        assert!(is_linearizable(&[(1, 2, Write(1)), (3, 4, Read(1)), (5, 6, Write(2)), (7, 8, Read(2))]));
        assert!(!is_linearizable(&[(1, 2, Write(1)), (3, 4, Read(0))]), "a stale read");
        assert!(!is_linearizable(&[(1, 2, Write(1)), (3, 4, Write(2)), (5, 6, Read(1))]), "a write lost");
        assert!(!is_linearizable(&[(1, 2, Read(1)), (3, 4, Write(1))]), "a read of what is yet to come");
    }

    #[test]
    fn calls_at_the_same_time_have_whichever_order_explains_them() {
        assert!(is_linearizable(&[(1, 6, Write(1)), (2, 5, Read(0))]));
        assert!(is_linearizable(&[(1, 6, Write(1)), (2, 5, Read(1))]));
        assert!(is_linearizable(&[(1, 10, Write(1)), (2, 3, Read(0)), (4, 5, Read(1))]));
        assert!(is_linearizable(&[(1, 10, Write(1)), (2, 9, Write(2)), (3, 4, Read(2)), (5, 6, Read(1))]));
    }

    #[test]
    fn a_read_that_goes_back_behind_another_has_no_order() {
        assert!(!is_linearizable(&[(1, 10, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))]));
        let twice = [(1, 10, Write(1)), (2, 9, Write(2)), (3, 4, Read(1)), (5, 6, Read(2)), (7, 8, Read(1))];
        assert!(!is_linearizable(&twice));
    }

    #[test]
    fn two_who_both_win_have_no_order() {
        assert!(is_linearizable(&[(1, 4, Exchange(0, 1, true)), (2, 3, Exchange(0, 2, false))]));
        assert!(!is_linearizable(&[(1, 4, Exchange(0, 1, true)), (2, 3, Exchange(0, 2, true))]));
        assert!(!is_linearizable(&[(1, 4, Exchange(0, 1, false)), (2, 3, Exchange(0, 2, false))]), "nobody won");
        assert!(!is_linearizable(&[(1, 2, Exchange(0, 1, true)), (3, 4, Exchange(1, 0, false))]));
    }

    #[test]
    fn it_is_said_where_no_order_goes_on() {
        let calls = [(1, 2, Write(1)), (3, 6, Write(2)), (4, 5, Read(3))];
        let history = calls.map(|(called, returned, call)| Span { call, called, returned });
        assert_eq!(order(&Register(0), &history), Err(NoOrder { longest: vec![0, 1], stuck: vec![2] }));
    }

    #[test]
    fn what_is_remembered_keeps_the_search_short() {
        // Of 16 writes at the same time there are more orders than could be tried.
        let writes = (0..16).map(|called| Span { call: Write(1), called, returned: 100 });
        let history: Vec<_> = writes.chain([Span { call: Read(2), called: 101, returned: 102 }]).collect();
        assert_eq!(order(&Register(0), &history).unwrap_err().longest.len(), 16);
    }
}

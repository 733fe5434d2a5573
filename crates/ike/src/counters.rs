/// Declares the counters once: field, name as shown, and what it counts.
macro_rules! counters {
    ($( $(#[doc = $help:literal])+ $field:ident )+) => {
        /// How often each thing happened since the endpoint was made. Counters only rise.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $( $(#[doc = $help])+ pub $field: u64 ),+ }

        impl Counters {
            /// Every counter by name, in the order of declaration.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$( (stringify!($field), self.$field) ),+]
            }
        }
    };
}

counters! {
    /// Messages handed to the endpoint.
    received
    /// Messages the endpoint sent, repetitions and fragments included.
    sent
    /// Requests of ours that were sent again.
    retransmitted
    /// Messages that are no IKE: too short, a wrong length, payloads that do not fit.
    malformed
    /// Messages of another major version (RFC 7296 section 2.5).
    other_version
    /// Messages that name an IKE SA nobody here knows.
    unknown_ike_spi
    /// Messages whose integrity check failed.
    integrity_failed
    /// Messages that came without protection where it is due, or in a state that does not await them.
    unexpected
    /// Requests repeated byte for byte and answered from memory.
    repeated_requests
    /// Messages with an old or far message ID that were not the repetition of a request.
    outside_window
    /// Answers to nothing that was asked.
    unasked_answers
    /// Unprotected error notifications, taken as hints only (RFC 7296 section 2.21).
    unprotected_notifies
    /// Cookies demanded.
    cookies_demanded
    /// Cookies that came back and were right.
    cookies_accepted
    /// Cookies that came back and were wrong or too old.
    cookies_refused
    /// First messages dropped because too many IKE SAs were half-open.
    half_open_limit
    /// First messages for which an older half-open IKE SA of the same source gave way.
    half_open_source_limit
    /// First messages dropped because they are larger than a half-open IKE SA may keep.
    first_message_too_large
    /// Half-open IKE SAs that never became more.
    half_open_expired
    /// Fragments accepted (RFC 7383).
    fragments
    /// Fragments dropped: out of bounds, of another set, or repeated.
    fragments_dropped
    /// Answers to strangers withheld by the rate limit.
    rate_limited
    /// Requests of peers refused because too many child SAs exist.
    child_limit
    /// IKE SAs that became established.
    ike_established
    /// IKE SAs that failed before they were established.
    ike_failed
    /// IKE SAs rekeyed.
    ike_rekeyed
    /// Child SAs made, rekeyed ones included.
    child_established
    /// Child SAs that could not be made.
    child_failed
    /// Child SAs rekeyed.
    child_rekeyed
    /// Peers found dead.
    peers_dead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_listed_under_its_own_name() {
        let counters = Counters { malformed: 3, peers_dead: 1, ..Counters::default() };
        let list = counters.list();
        assert!(list.contains(&("malformed", 3)) && list.contains(&("peers_dead", 1)));
        assert_eq!(list.iter().map(|(_, n)| n).sum::<u64>(), 4);
    }
}

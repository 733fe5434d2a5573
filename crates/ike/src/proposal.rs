//! Proposals: what may protect an IKE SA or a child SA, and how one is chosen (RFC 7296 sections 2.7 and 3.3).
//!
//! As responder the peer's order decides: its first proposal that our list allows, and in it its first transform of each
//! kind that our list allows. The Diffie-Hellman group is the exception: the greatest number that both sides know wins.

use std::fmt;

use crypto::{Encryption, Group, Integrity, Prf};

use crate::Algorithms;

/// What a proposal may be for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<'a> {
    /// Name of the list, for messages.
    pub(crate) list: &'a str,
    /// Ciphers allowed.
    pub(crate) encryption: &'a [Encryption],
    /// Integrity allowed beside ciphers that are not AEAD.
    pub(crate) integrity: &'a [Integrity],
    /// PRFs allowed; `None` for a child SA, which has none.
    pub(crate) prf: Option<&'a [Prf]>,
    /// Groups allowed.
    pub(crate) groups: GroupRule<'a>,
    /// Extended sequence numbers allowed (child SAs).
    pub(crate) esn: bool,
}

/// What holds for the Diffie-Hellman transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupRule<'a> {
    /// Not looked at: the first child SA takes its keys from the IKE SA's exchange (RFC 7296 section 1.2).
    Ignored,
    /// No exchange: perfect forward secrecy is not configured.
    Without,
    /// One of these.
    OneOf(&'a [Group]),
}

impl<'a> Policy<'a> {
    /// The rule for an IKE SA.
    pub(crate) fn ike(list: &'a Algorithms, groups: &'a [Group]) -> Self {
        Self {
            list: &list.name,
            encryption: &list.encryption,
            integrity: &list.integrity,
            prf: Some(&list.prf),
            groups: GroupRule::OneOf(groups),
            esn: false,
        }
    }

    /// The rule for a child SA.
    pub(crate) fn esp(list: &'a Algorithms, groups: GroupRule<'a>, esn: bool) -> Self {
        Self { list: &list.name, encryption: &list.encryption, integrity: &list.integrity, prf: None, groups, esn }
    }

    /// The rule for the groups of a child SA made after the first.
    pub(crate) fn pfs(groups: &'a [Group]) -> GroupRule<'a> {
        if groups.is_empty() { GroupRule::Without } else { GroupRule::OneOf(groups) }
    }
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) encryption: Encryption,
    pub(crate) integrity: Option<Integrity>,
    pub(crate) prf: Option<Prf>,
    pub(crate) group: Option<Group>,
    pub(crate) esn: bool,
}

impl Suite {
    /// The same suite as the one proposal of an answer.
    pub(crate) fn as_offer(&self, number: u8, spi: Vec<u8>) -> Offer {
        Offer {
            number,
            spi,
            encryption: vec![Ok(self.encryption)],
            prf: self.prf.into_iter().map(Ok).collect(),
            integrity: self.integrity.into_iter().map(|one| Ok(Some(one))).collect(),
            groups: self.group.into_iter().map(|one| Ok(Some(one))).collect(),
            // RFC 7296 section 3.3.3: this transform is mandatory for ESP and meaningless for IKE.
            esn: if self.prf.is_none() { vec![self.esn] } else { Vec::new() },
            strange_type: None,
        }
    }
}

impl fmt::Display for Suite {
    /// `AES-CBC-256/HMAC-SHA256-128/PRF-HMAC-SHA256/ECP random 256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        self.integrity.iter().try_for_each(|one| write!(f, "/{one}"))?;
        self.prf.iter().try_for_each(|one| write!(f, "/{one}"))?;
        self.group.iter().try_for_each(|one| write!(f, "/{one}"))?;
        if self.esn { f.write_str("/ESN") } else { Ok(()) }
    }
}

/// An algorithm that we know, or the words for one that we do not.
pub(crate) type Named<T> = Result<T, String>;

/// One proposal as it is sent, its transforms sorted by kind. The order within a kind is preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Number of the proposal, from 1.
    pub(crate) number: u8,
    /// SPI, 4 bytes for ESP, 8 for the rekeying of an IKE SA, otherwise empty.
    pub(crate) spi: Vec<u8>,
    pub(crate) encryption: Vec<Named<Encryption>>,
    pub(crate) prf: Vec<Named<Prf>>,
    /// `None` is the transform NONE.
    pub(crate) integrity: Vec<Named<Option<Integrity>>>,
    /// `None` is the transform NONE.
    pub(crate) groups: Vec<Named<Option<Group>>>,
    /// Extended sequence numbers: yes, no.
    pub(crate) esn: Vec<bool>,
    /// A transform of a type that we do not know makes the whole proposal unacceptable (RFC 7296 section 3.3.6).
    pub(crate) strange_type: Option<u8>,
}

/// The proposals we send: AEAD ciphers apart from the others (RFC 7296 section 3.3), the sort that the list names first
/// in front.
pub(crate) fn propose(policy: &Policy<'_>, spi: &[u8]) -> Vec<Offer> {
    let (aead, plain): (Vec<Encryption>, Vec<Encryption>) =
        policy.encryption.iter().copied().partition(|one| one.is_aead());
    let aead_first = policy.encryption.first().is_some_and(|one| one.is_aead());
    let mut sorts = vec![(plain, true), (aead, false)];
    if aead_first {
        sorts.reverse();
    }
    let mut groups: Vec<Group> = match policy.groups {
        GroupRule::OneOf(groups) => groups.to_vec(),
        GroupRule::Ignored | GroupRule::Without => Vec::new(),
    };
    groups.sort_unstable_by(|a, b| b.cmp(a));
    let esn = match (policy.prf, policy.esn) {
        (Some(_), _) => Vec::new(),
        (None, true) => vec![true, false],
        (None, false) => vec![false],
    };
    sorts
        .into_iter()
        .filter(|(ciphers, needs_integrity)| !ciphers.is_empty() && (!needs_integrity || !policy.integrity.is_empty()))
        .zip(1..)
        .map(|((ciphers, needs_integrity), number)| Offer {
            number,
            spi: spi.to_vec(),
            encryption: ciphers.into_iter().map(Ok).collect(),
            prf: policy.prf.unwrap_or_default().iter().copied().map(Ok).collect(),
            integrity: if needs_integrity {
                policy.integrity.iter().map(|one| Ok(Some(*one))).collect()
            } else {
                Vec::new()
            },
            groups: groups.iter().map(|one| Ok(Some(*one))).collect(),
            esn: esn.clone(),
            strange_type: None,
        })
        .collect()
}

/// Chooses among the peer's proposals: the number of the proposal and what it comes to.
pub(crate) fn choose(offers: &[Offer], policy: &Policy<'_>) -> Result<(u8, Suite), Box<Mismatch>> {
    let fitting: Vec<(&Offer, Suite)> =
        offers.iter().filter_map(|offer| Some((offer, without_group(offer, policy).ok()?))).collect();
    let chosen = match policy.groups {
        GroupRule::Ignored => fitting.first().copied(),
        GroupRule::Without => fitting.iter().find(|(offer, _)| offer.goes_without_group()).copied(),
        GroupRule::OneOf(ours) => {
            let common = |offer: &Offer| ours.iter().copied().filter(|group| offer.has_group(*group)).max();
            let greatest = fitting.iter().filter_map(|(offer, _)| common(offer)).max();
            greatest.and_then(|group| {
                let (offer, suite) = fitting.iter().find(|(offer, _)| offer.has_group(group))?;
                Some((*offer, Suite { group: Some(group), ..*suite }))
            })
        }
    };
    match chosen {
        Some((offer, suite)) => Ok((offer.number, suite)),
        None => Err(Mismatch::between(offers, policy)),
    }
}

/// Reads the answer to our proposals: exactly one, with one transform of each kind, all of which we offered
/// (RFC 7296 section 3.3.6).
pub(crate) fn accept(answer: &[Offer], policy: &Policy<'_>) -> Result<Suite, Box<Mismatch>> {
    let single = |offer: &Offer| {
        offer.encryption.len() == 1
            && offer.prf.len() <= 1
            && offer.integrity.len() <= 1
            && offer.groups.len() <= 1
            && offer.esn.len() <= 1
    };
    match answer {
        [offer] if single(offer) => choose(answer, policy).map(|(_, suite)| suite),
        _ => Err(Mismatch::between(answer, policy)),
    }
}

/// The kinds of transform in which a proposal can miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Encryption,
    Integrity,
    Prf,
    Group,
    Esn,
    StrangeType,
}

impl Kind {
    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Encryption => "encryption",
            Self::Integrity => "integrity",
            Self::Prf => "PRF",
            Self::Group => "DH group",
            Self::Esn => "extended sequence numbers",
            Self::StrangeType => "unknown transform type",
        }
    }
}

/// Why nothing could be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// What the peer offered.
    pub(crate) offered: String,
    /// What our list allows.
    pub(crate) allowed: String,
    /// Name of our list.
    pub(crate) list: String,
    /// The proposal that came closest, and the kinds in which it misses.
    pub(crate) nearest: Option<(Offer, Vec<Kind>)>,
}

impl Mismatch {
    fn between(offers: &[Offer], policy: &Policy<'_>) -> Box<Self> {
        let nearest = offers
            .iter()
            .map(|offer| (offer, misses(offer, policy)))
            // The first of equals: the peer's own preference.
            .min_by_key(|(_, kinds)| kinds.len())
            .map(|(offer, kinds)| (offer.clone(), kinds));
        Box::new(Self { offered: describe(offers), allowed: policy.to_string(), list: policy.list.to_owned(), nearest })
    }
}

/// All proposals of a list, for messages.
pub(crate) fn describe(offers: &[Offer]) -> String {
    const SHOWN_MAX: usize = 6;
    let mut text: Vec<String> = offers.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if offers.len() > SHOWN_MAX {
        text.push(format!("and {} more", offers.len() - SHOWN_MAX));
    }
    if text.is_empty() { "no proposal".to_owned() } else { text.join("; ") }
}

/// Chooses everything but the group. The kinds that miss are the error.
fn without_group(offer: &Offer, policy: &Policy<'_>) -> Result<Suite, Vec<Kind>> {
    let mut missing = Vec::new();
    if offer.strange_type.is_some() {
        missing.push(Kind::StrangeType);
    }
    let integrity = first_of(&offer.integrity, |one| one.is_some_and(|one| policy.integrity.contains(&one))).flatten();
    let none_will_do = offer.integrity.is_empty() || offer.integrity.contains(&Ok(None));
    let allowed = |one: Encryption| policy.encryption.contains(&one);
    // RFC 7296 section 3.3: an AEAD cipher goes with no integrity transform, any other needs one.
    let usable = |one: Encryption| allowed(one) && if one.is_aead() { none_will_do } else { integrity.is_some() };
    let encryption = first_of(&offer.encryption, usable);
    if encryption.is_none() {
        if first_of(&offer.encryption, allowed).is_some() {
            missing.push(Kind::Integrity);
        } else {
            missing.push(Kind::Encryption);
            if integrity.is_none() && !none_will_do {
                missing.push(Kind::Integrity);
            }
        }
    }
    let prf = match policy.prf {
        None => None,
        Some(ours) => {
            let found = first_of(&offer.prf, |one| ours.contains(&one));
            if found.is_none() {
                missing.push(Kind::Prf);
            }
            found
        }
    };
    // A peer that leaves the transform out means plain sequence numbers.
    let plain = offer.esn.is_empty() || offer.esn.contains(&false);
    let extended = policy.esn && offer.esn.contains(&true);
    if policy.prf.is_none() && !plain && !extended {
        missing.push(Kind::Esn);
    }
    match encryption {
        Some(encryption) if missing.is_empty() => Ok(Suite {
            encryption,
            integrity: if encryption.is_aead() { None } else { integrity },
            prf,
            group: None,
            esn: extended,
        }),
        _ => Err(missing),
    }
}

/// Every kind in which a proposal misses.
fn misses(offer: &Offer, policy: &Policy<'_>) -> Vec<Kind> {
    let mut missing = without_group(offer, policy).err().unwrap_or_default();
    let group_fits = match policy.groups {
        GroupRule::Ignored => true,
        GroupRule::Without => offer.goes_without_group(),
        GroupRule::OneOf(ours) => ours.iter().any(|group| offer.has_group(*group)),
    };
    if !group_fits {
        missing.push(Kind::Group);
    }
    missing
}

fn first_of<T: Copy>(named: &[Named<T>], fits: impl Fn(T) -> bool) -> Option<T> {
    named.iter().filter_map(|one| one.as_ref().ok()).copied().find(|one| fits(*one))
}

impl Offer {
    fn has_group(&self, group: Group) -> bool {
        self.groups.contains(&Ok(Some(group)))
    }

    fn goes_without_group(&self) -> bool {
        self.groups.is_empty() || self.groups.contains(&Ok(None))
    }

    /// The words for what it offers of a kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> String {
        match kind {
            Kind::Encryption => ciphers(&self.encryption),
            Kind::Integrity => names(&self.integrity, or_none),
            Kind::Prf => names(&self.prf, ToString::to_string),
            Kind::Group => names(&self.groups, group_name),
            Kind::Esn => if self.esn.contains(&false) { "no ESN" } else { "ESN only" }.to_owned(),
            Kind::StrangeType => self.strange_type.map_or_else(String::new, |kind| format!("type {kind}")),
        }
    }
}

fn or_none<T: fmt::Display>(one: &Option<T>) -> String {
    one.as_ref().map_or_else(|| "NONE".to_owned(), ToString::to_string)
}

/// A group by its name and by the number that configurations have.
fn group_name(group: &Option<Group>) -> String {
    group.map_or_else(|| "NONE".to_owned(), |group| format!("{group} ({})", group.iana()))
}

/// Ciphers, the key sizes of one that is named several times together: `AES-CBC 256/192/128`.
fn ciphers(named: &[Named<Encryption>]) -> String {
    let family = |one: &Named<Encryption>| one.as_ref().ok().map(|cipher| cipher.iana().0);
    let runs = named.chunk_by(|a, b| family(a).is_some() && family(a) == family(b));
    let words: Vec<Named<String>> = runs
        .map(|run| {
            // A peer may name one as often as it likes.
            let mut sizes: Vec<String> = Vec::new();
            for size in run.iter().flatten().filter_map(|one| one.iana().1).map(|size| size.to_string()) {
                if !sizes.contains(&size) {
                    sizes.push(size);
                }
            }
            let Some(first) = run.first() else { return Ok(String::new()) };
            let name = first.as_ref().map(ToString::to_string).map_err(Clone::clone)?;
            if sizes.len() < 2 {
                return Ok(name);
            }
            let stem = name.rsplit_once('-').map_or(name.as_str(), |(stem, _)| stem);
            Ok(format!("{stem} {}", sizes.join("/")))
        })
        .collect();
    names(&words, Clone::clone)
}

fn names<T>(named: &[Named<T>], name: impl Fn(&T) -> String) -> String {
    const SHOWN_MAX: usize = 12;
    let all: Vec<String> = named
        .iter()
        .take(SHOWN_MAX)
        .map(|one| match one {
            Ok(known) => name(known),
            Err(words) => words.clone(),
        })
        .collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

impl fmt::Display for Offer {
    /// `AES-CBC 256/128, 3DES-CBC / HMAC-SHA256-128 / PRF-HMAC-SHA256 / ECP random 256 (19)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of_kind(Kind::Encryption))?;
        for (kind, present) in [
            (Kind::Integrity, !self.integrity.is_empty()),
            (Kind::Prf, !self.prf.is_empty()),
            (Kind::Group, !self.groups.is_empty()),
            (Kind::StrangeType, self.strange_type.is_some()),
        ] {
            if present {
                write!(f, " / {}", self.of_kind(kind))?;
            }
        }
        if self.esn == [true] { f.write_str(" / ESN") } else { Ok(()) }
    }
}

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What goes with what is left to the rules of proposals: for people the kinds are listed once.
        let mut offers = propose(self, &[]).into_iter();
        let Some(mut all) = offers.next() else { return f.write_str("no proposal") };
        for offer in offers {
            all.encryption.extend(offer.encryption);
            all.integrity.extend(offer.integrity);
        }
        write!(f, "{all}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Algorithms {
        Algorithms {
            name: "High".into(),
            encryption: vec![Encryption::AesCbc(256), Encryption::AesCbc(128), Encryption::AesGcm16(256)],
            integrity: vec![Integrity::HmacSha2_256_128, Integrity::HmacSha2_512_256],
            prf: vec![Prf::HmacSha2_256, Prf::HmacSha2_512],
        }
    }

    fn one(e: Encryption, i: Option<Integrity>, p: Prf, g: Group) -> Offer {
        Suite { encryption: e, integrity: i, prf: Some(p), group: Some(g), esn: false }.as_offer(1, Vec::new())
    }

    #[test]
    fn what_we_propose_we_accept_ourselves() {
        let list = list();
        let policy = Policy::ike(&list, &[Group::Modp2048, Group::Ecp256]);
        let offers = propose(&policy, &[]);
        assert_eq!(offers.len(), 2);
        assert_eq!((offers[0].number, offers[1].number), (1, 2));
        assert!(offers[1].integrity.is_empty() && offers[1].encryption == [Ok(Encryption::AesGcm16(256))]);
        let (number, suite) = choose(&offers, &policy).unwrap();
        assert_eq!(number, 1);
        assert_eq!(suite.to_string(), "AES-CBC-256/HMAC-SHA256-128/PRF-HMAC-SHA256/ECP random 256");
        assert_eq!(accept(&[suite.as_offer(1, Vec::new())], &policy), Ok(suite));
    }

    #[test]
    fn the_peers_order_decides_but_the_greatest_group_wins() {
        let list = list();
        let sha = Some(Integrity::HmacSha2_256_128);
        let windows = [
            one(Encryption::TripleDes, sha, Prf::HmacSha2_256, Group::Modp2048),
            one(Encryption::AesCbc(128), sha, Prf::HmacSha2_256, Group::Modp2048),
            one(Encryption::AesCbc(256), sha, Prf::HmacSha2_256, Group::Modp2048),
            one(Encryption::AesCbc(256), sha, Prf::HmacSha2_256, Group::Ecp256),
        ];
        let policy = Policy::ike(&list, &[Group::Modp2048]);
        assert_eq!(choose(&windows, &policy).unwrap().1.encryption, Encryption::AesCbc(128));
        let policy = Policy::ike(&list, &[Group::Modp2048, Group::Ecp256]);
        let suite = choose(&windows, &policy).unwrap().1;
        assert_eq!((suite.encryption, suite.group), (Encryption::AesCbc(256), Some(Group::Ecp256)));
    }

    #[test]
    fn an_unknown_transform_is_skipped_but_an_unknown_type_spoils_its_proposal() {
        let list = list();
        let policy = Policy::ike(&list, &[Group::Ecp256]);
        let mut offer = propose(&policy, &[]).remove(0);
        offer.encryption.insert(0, Err("ENCR 28".into()));
        assert_eq!(choose(&[offer.clone()], &policy).unwrap().1.encryption, Encryption::AesCbc(256));
        offer.strange_type = Some(6);
        let mismatch = choose(&[offer], &policy).unwrap_err();
        assert_eq!(mismatch.nearest.unwrap().1, vec![Kind::StrangeType]);
    }

    #[test]
    fn the_nearest_miss_names_what_differs() {
        let list = list();
        let policy = Policy::ike(&list, &[Group::Modp2048]);
        let offers = [
            one(Encryption::TripleDes, Some(Integrity::HmacSha1_96), Prf::HmacSha1, Group::Modp1024),
            one(Encryption::AesCbc(128), Some(Integrity::HmacSha2_256_128), Prf::HmacSha2_256, Group::Modp1024),
        ];
        let mismatch = choose(&offers, &policy).unwrap_err();
        let (offer, kinds) = mismatch.nearest.unwrap();
        assert_eq!(kinds, vec![Kind::Group]);
        assert_eq!(offer.of_kind(Kind::Group), "MODP 1024 (2)");
        assert!(mismatch.offered.starts_with("3DES-CBC / HMAC-SHA1-96 / PRF-HMAC-SHA1 / MODP 1024 (2); AES-CBC-128"));
    }

    #[test]
    fn key_sizes_of_a_cipher_stand_together_and_what_a_list_allows_is_said_once() {
        let list = Algorithms {
            encryption: vec![
                Encryption::AesGcm16(256),
                Encryption::AesGcm16(128),
                Encryption::AesCbc(256),
                Encryption::AesCbc(192),
                Encryption::AesCbc(128),
                Encryption::TripleDes,
            ],
            ..list()
        };
        assert_eq!(
            Policy::ike(&list, &[Group::Ecp256, Group::Ecp521]).to_string(),
            "AES-GCM-16 256/128, AES-CBC 256/192/128, 3DES-CBC / HMAC-SHA256-128, HMAC-SHA512-256 / \
             PRF-HMAC-SHA256, PRF-HMAC-SHA512 / ECP random 521 (21), ECP random 256 (19)"
        );
        let unknown = [Err("ENCR 28".to_owned()), Err("ENCR 29".to_owned()), Ok(Encryption::AesCbc(128))];
        assert_eq!(ciphers(&unknown), "ENCR 28, ENCR 29, AES-CBC-128");
        assert_eq!(ciphers(&[]), "none");
        let often = [Encryption::TripleDes, Encryption::TripleDes, Encryption::AesCbc(128), Encryption::AesCbc(128)];
        assert_eq!(ciphers(&often.map(Ok)), "3DES-CBC, AES-CBC-128");
        let again = [128, 256, 128, 256].map(|bits| Ok(Encryption::AesCbc(bits)));
        assert_eq!(ciphers(&again), "AES-CBC 128/256");
    }

    #[test]
    fn an_aead_cipher_goes_without_integrity_and_others_never_do() {
        let list = list();
        let policy = Policy::esp(&list, GroupRule::Ignored, true);
        let gcm = Offer { encryption: vec![Ok(Encryption::AesGcm16(256))], esn: vec![false], ..Offer::default() };
        assert_eq!(choose(std::slice::from_ref(&gcm), &policy).unwrap().1.integrity, None);
        let both = Offer { integrity: vec![Ok(Some(Integrity::HmacSha2_256_128))], ..gcm };
        assert_eq!(choose(&[both], &policy).unwrap_err().nearest.unwrap().1, vec![Kind::Integrity]);
        let naked = Offer { encryption: vec![Ok(Encryption::AesCbc(256))], ..Offer::default() };
        assert_eq!(choose(&[naked], &policy).unwrap_err().nearest.unwrap().1, vec![Kind::Integrity]);
    }

    #[test]
    fn forward_secrecy_is_neither_forced_on_nor_talked_out_of_anybody() {
        let list = list();
        let without = Policy::esp(&list, GroupRule::Without, false);
        let groups = [Group::Ecp256];
        let with = Policy::esp(&list, Policy::pfs(&groups), false);
        assert!(choose(&propose(&with, &[1, 2, 3, 4]), &without).is_err());
        assert!(choose(&propose(&without, &[1, 2, 3, 4]), &with).is_err());
        assert_eq!(choose(&propose(&with, &[]), &with).unwrap().1.group, Some(Group::Ecp256));
        let mut optional = propose(&with, &[]);
        optional[0].groups.push(Ok(None));
        assert_eq!(choose(&optional, &without).unwrap().1.group, None);
    }

    #[test]
    fn extended_sequence_numbers_need_both_sides() {
        let list = list();
        for (ours, theirs, want) in [(true, true, true), (true, false, false), (false, true, false)] {
            let mine = Policy::esp(&list, GroupRule::Ignored, ours);
            let yours = Policy::esp(&list, GroupRule::Ignored, theirs);
            assert_eq!(choose(&propose(&yours, &[]), &mine).unwrap().1.esn, want);
        }
        let only = Offer { encryption: vec![Ok(Encryption::AesGcm16(256))], esn: vec![true], ..Offer::default() };
        let plain = Policy::esp(&list, GroupRule::Ignored, false);
        assert_eq!(choose(&[only], &plain).unwrap_err().nearest.unwrap().1, vec![Kind::Esn]);
    }

    #[test]
    fn an_answer_of_several_transforms_is_no_answer() {
        let list = list();
        let policy = Policy::ike(&list, &[Group::Ecp256]);
        assert!(accept(&propose(&policy, &[]), &policy).is_err());
        assert!(accept(&propose(&policy, &[])[..1], &policy).is_err());
        assert!(accept(&[], &policy).is_err());
    }
}

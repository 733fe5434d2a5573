//! The near name: what somebody probably meant.

/// The candidate nearest to `word`, in any case, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Beyond this length a name is no typing error, and the comparison would cost its square.
    const LONGEST: usize = 64;
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
            let far = distance(&word, &other);
            (far <= allowed && far < word.len()).then_some((far, candidate))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// `did you mean X?` with a leading space, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = last;
        last = row;
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_own_typing_error_is_recognised() {
        assert_eq!(nearest("my_secret_key", ["other", "my_scecret_key"]), Some("my_scecret_key"));
        assert_eq!(nearest("localnetwrok", ["LocalNetwork", "RemoteNetwork"]), Some("LocalNetwork"));
    }

    #[test]
    fn what_is_far_is_not_suggested() {
        assert_eq!(nearest("wan", ["lan"]), Some("lan"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("tunnel", ["all-nets", "localhost"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}

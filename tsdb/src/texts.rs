//! Sorted texts: names and values of labels from several sources as one list.

/// Bytes compared at once as a number.
const KEY_BYTES: usize = 8;

/// Sorts texts that mostly begin alike: what follows their common beginning is compared as a number first, which touches
/// none of them.
pub(crate) fn sort(texts: &mut [&str]) {
    let Some(first) = texts.first().copied() else {
        return;
    };
    let common = texts.iter().fold(first.len(), |common, text| {
        let same = first.bytes().zip(text.bytes()).take(common);
        same.take_while(|(a, b)| a == b).count()
    });
    let mut keyed: Vec<(u64, &str)> = texts.iter().map(|text| (key_at(text.as_bytes(), common), *text)).collect();
    keyed.sort_unstable();
    texts.iter_mut().zip(keyed).for_each(|(place, (_, text))| *place = text);
}

/// The bytes from there on, as many as a key has; zeros stand for those behind the end.
fn key_at(text: &[u8], at: usize) -> u64 {
    let rest = &text[at..];
    match rest.first_chunk::<KEY_BYTES>() {
        Some(key) => u64::from_be_bytes(*key),
        None => {
            let mut key = [0; KEY_BYTES];
            key[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(key)
        }
    }
}

/// Adds sorted texts to others that are sorted too, each once. Those that are there already are not copied.
pub(crate) fn add<'a>(all: &mut Vec<String>, texts: impl Iterator<Item = &'a str>) {
    if all.is_empty() {
        all.extend(texts.map(str::to_owned));
        return;
    }
    let (mut missing, mut at) = (Vec::new(), 0);
    for text in texts {
        while all.get(at).is_some_and(|known| known.as_str() < text) {
            at += 1;
        }
        match all.get(at) {
            Some(known) if known == text => at += 1,
            _ => missing.push(text.to_owned()),
        }
    }
    if !missing.is_empty() {
        all.append(&mut missing);
        // Two runs, which are merged.
        all.sort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_sorted_whatever_they_begin_with(
            prefix in "[a\\x00]{0,3}",
            rests in proptest::collection::vec("[abé\\x00]{0,12}", 0..50),
        ) {
            let texts: Vec<String> = rests.iter().map(|rest| format!("{prefix}{rest}")).collect();
            let mut sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
            sort(&mut sorted);
            let mut expected: Vec<&str> = texts.iter().map(String::as_str).collect();
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn added_texts_stand_once_in_their_places(
            sets in proptest::collection::vec(proptest::collection::btree_set("[abc]{0,3}", 0..20), 0..5),
        ) {
            let mut all = Vec::new();
            sets.iter().for_each(|set| add(&mut all, set.iter().map(String::as_str)));
            let expected: BTreeSet<String> = sets.into_iter().flatten().collect();
            prop_assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

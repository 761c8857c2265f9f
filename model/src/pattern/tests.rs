//! Patterns against Go's behaviour.
use super::*;

#[test]
fn shapes_are_found() {
    let literals = |e: &str| Pattern::new(e).unwrap().literals().map(|l| l.join(","));
    assert_eq!(literals("a|b|c").as_deref(), Some("a,b,c"));
    assert_eq!(literals("x(a|bc)[12]?").as_deref(), Some("xa,xa1,xa2,xbc,xbc1,xbc2"));
    assert_eq!(literals("").as_deref(), Some(""));
    assert_eq!(literals("a.*"), None);
    assert!(Pattern::new(".*").unwrap().matches_anything());
    assert_eq!(Pattern::new("abc.*").unwrap().prefix(), "abc");
    assert_eq!(Pattern::new("abc[0-9]+").unwrap().prefix(), "abc");
}

//! Patterns against Go's behaviour.
use super::*;

/// Space-separated texts that match in whole, and such that do not; `~` stands for the empty text and `\n`, `\t`, `\s`
/// for white space.
fn check(expression: &str, matching: &str, other: &str) {
    let pattern = Pattern::new(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    let text = |t: &str| t.replace('~', "").replace("\\n", "\n").replace("\\t", "\t").replace("\\s", " ");
    for (texts, expected) in [(matching, true), (other, false)] {
        for text in texts.split(' ').filter(|t| !t.is_empty()).map(text) {
            assert_eq!(pattern.is_match(&text), expected, "{expression:?} on {text:?}");
            assert_eq!(pattern.captures(&text).is_some(), expected, "groups of {expression:?} on {text:?}");
        }
    }
}

fn refused(expression: &str, offset: usize, message: &str) {
    let error = Pattern::new(expression).expect_err(expression);
    assert_eq!(error.to_string(), format!("error parsing regexp: {message}"), "{expression:?}");
    assert_eq!(error.offset, offset, "{expression:?}");
}

#[test]
fn shapes_are_found() {
    let literals = |e: &str| Pattern::new(e).unwrap().literals().map(|l| l.join(","));
    assert_eq!(literals("a|b|c").as_deref(), Some("a,b,c"));
    assert_eq!(literals("x(a|bc)[12]?").as_deref(), Some("xa,xa1,xa2,xbc,xbc1,xbc2"));
    assert_eq!(literals("").as_deref(), Some(""));
    assert_eq!(literals("a.*"), None);
    assert_eq!(literals("(?i:ab)").as_deref(), Some("AB,Ab,aB,ab"));
    assert_eq!(literals("\\Qa.b\\E\\.c").as_deref(), Some("a.b.c"));
    assert_eq!(literals("^(?:a|bc)$").as_deref(), Some("a,bc"));
    assert_eq!(literals("(^ab$)").as_deref(), Some("ab"));
    assert_eq!(literals("^$").as_deref(), Some(""));
    assert_eq!(literals("a^b"), None);
    assert_eq!(literals("(?m)^ab$"), None);
    assert_eq!(Pattern::new("^abc.*$").unwrap().prefix(), "abc");
    assert!(Pattern::new(".*").unwrap().matches_anything());
    assert!(Pattern::new("(.*)").unwrap().matches_anything());
    assert!(!Pattern::new("(?-s:.*)").unwrap().matches_anything());
    assert!(!Pattern::new(".+").unwrap().matches_anything());
    assert_eq!(Pattern::new("abc.*").unwrap().prefix(), "abc");
    assert_eq!(Pattern::new("abc[0-9]+").unwrap().prefix(), "abc");
}

#[test]
fn shapes_match_without_an_automaton() {
    for (expression, shape) in [
        (".*", "Anything"),
        (".+", "NotEmpty"),
        ("a|b", "Literals([\"a\", \"b\"])"),
        ("ab.*", "Prefix(\"ab\")"),
        (".*ab", "Suffix(\"ab\")"),
        (".*ab.*", "Contains(\"ab\")"),
    ] {
        let pattern = Pattern::new(expression).unwrap();
        assert_eq!(format!("{:?}", pattern.shape), shape);
        assert!(pattern.is_match("ab") || expression == "a|b");
        assert!(pattern.automaton.get().is_none(), "{expression} was built too early");
        assert!(pattern.captures("b").is_some() || expression.contains("ab"));
        assert!(pattern.automaton.get().is_some());
    }
    assert!(Pattern::new("[0-9]+").unwrap().automaton.get().is_some());
}

#[test]
fn literals_and_escapes() {
    check("abc", "abc", "ab abcd ABC ~");
    check("", "~", "a");
    check("é日", "é日", "é");
    check("\\.\\*\\_\\-\\/", ".*_-/", "x*_-/");
    check("\\x41\\x{61}\\x{1F600}", "Aa😀", "Aa");
    check("\\101\\07", "A\u{7}", "101 A");
    check("\\0", "\0", "0");
    check("\\01234", "\u{a}34", "S4");
    check("a\\tb\\n", "a\\tb\\n", "atbn");
    check("[\\a\\f\\v\\r]", "\u{7}", "a f v r");
    check("\\Qa.b*\\E+", "a.b* a.b***", "axb a.b");
    check("\\Qa\\Eb", "ab", "a");
    check("\\Q[", "[", "~");
    check("a*\\Q\\E*", "aaa ~", "b");
    check("\\x{D800}?", "~", "\u{FFFD}");
}

#[test]
fn classes() {
    check("[a-c]", "a b c", "d ~ - ab");
    check("[^a-c]", "d \\n é", "a ~");
    check("[]a]", "] a", "[");
    check("[^]a]", "b [", "] a");
    check("[a-]", "a -", "b");
    check("[-a]", "a -", "b");
    check("[a\\]b]", "a ] b", "\\");
    check("[[a]]", "[] a]", "a [");
    check("[a-z&&b]", "a & b z", "A");
    check("[a&&b]", "a & b", "&&");
    check("[+--]+", "+,-", "a");
    check("[\\d\\-x]+", "1-x", "a");
    check("[\\d-z]+", "5-z", "a");
    check("[[:alpha:]_]+", "aZ_", "1 é");
    check("[[:^alpha:]]", "1 é", "a");
    check("[[:space:]]", "\\s \\t \u{b}", "a");
    check("[[:word:]-]+", "a_1-", ".");
    check("[[:xdigit:]]+", "09afAF", "g");
    check("[[:punct:]]+", "!/:@[`{}", "a");
    check("[:alpha:]", ": a l p h", "b [:alpha:]");
    check("[\\x61-\\x63]", "a c", "d");
    check("[^\\x{0}-\\x{10FFFF}]*", "~", "a");
    check("[\\x{D000}-\\x{E000}]", "\u{D000} \u{E000}", "a");
    check("\\d+", "0123", "٣ a");
    check("\\w+", "aZ_09", "é -");
    check("\\W", "é -", "a _");
    check("\\s+", "\\t\\n", "\u{b} \u{a0}");
    check("[\\D]\\S", "aé é-", "1a a\\n");
}

#[test]
fn unicode_properties() {
    check("\\pL+", "aéλ", "1");
    check("\\PL+", "1-", "a");
    check("\\pN", "1 ٣ Ⅷ", "a");
    check("\\p{Greek}+", "λΣ", "a");
    check("\\p{greek}", "λ", "a");
    check("\\P{^Lu}", "A É", "a");
    check("\\p{^Lu}", "a", "A");
    check("[\\p{Lu}\\pN]+", "A1", "a");
    check("\\p{Any}\\p{ASCII}", "éa", "éé");
    check("\\p{Letter}\\p{Uppercase_Letter}", "aA", "aa");
    check("\\p{Thai}", "ก", "a");
    check("(?i)\\p{Lu}", "a A", "1");
    check("(?i)\\P{Lu}", "1", "a A");
}

#[test]
fn groups_and_flags() {
    check("a(b|c)d", "abd acd", "ad abcd");
    check("(?:ab)+", "ab abab", "aba ~");
    check("(?P<x>a)(?<y>b)", "ab", "a");
    check("(?P<x>a)|(?P<x>b)", "a b", "ab");
    check("a||b", "a b ~", "ab");
    check("()|x", "~ x", "y");
    check("(?i)straße", "STRAßE stra\u{1E9E}e", "STRASSE");
    check("(?i)k", "k K \u{212A}", "x");
    check("(?i:a)b", "ab Ab", "aB");
    check("(?i)a(?-i)b", "ab Ab", "aB");
    check("((?i)a)b", "Ab", "AB");
    check("(?i)a|b", "A B", "c");
    check("(?i)[k-s]", "K s \u{17F}", "j");
    check("(?i)[^k]", "j", "k K \u{212A}");
    check("(?i)\\w", "\u{17F} a", "é");
    check("(?i)σ", "Σ ς σ", "s");
    check(".", "a \\n é", "~");
    check("(?-s).", "a", "\\n");
    check("(?-s:.)(?s:.)", "a\\n", "\\na");
    check("(?)a", "a", "~");
    check("^a$", "a", "a\\n");
    check("a\\n^b$\\nc", "", "a\\nb\\nc");
    check("(?m)a\\n^b$\\nc", "a\\nb\\nc", "a");
    check("\\Aa\\z", "a", "b");
    check("a\\b-\\Bé", "a-é", "aé");
    check("a\\bé", "aé", "a");
    check("a\\B_", "a_", "a");
}

#[test]
fn repetition() {
    check("a*", "~ a aa", "b");
    check("a+?b??", "a aab", "~");
    check("a{2}", "aa", "a aaa");
    check("a{2,}", "aa aaaa", "a");
    check("a{1,2}?", "a aa", "~ aaa");
    check("a{0}b{0,0}", "~", "a b");
    check("x{,2}", "x{,2}", "xx x");
    check("{", "{", "~");
    check("x{2", "x{2", "xx");
    check("a{02}", "a{02}", "aa");
    check("a{1,x}", "a{1,x}", "a");
    check("a|{}", "a {}", "~");
    check("(?:a*)*", "~ aa", "b");
    check("^*a", "a", "~");
    check("a(?i)*", "aa ~", "A");
    check("(a{10}){100}|b", "b", "a");
    let whole = |e: &str| Pattern::new(e).unwrap().expand("aab", "$1-$2").unwrap();
    assert_eq!(whole("(a*)(.*)"), "aa-b");
    assert_eq!(whole("(a*?)(.*)"), "-aab");
    assert_eq!(whole("(?U)(a*)(.*)"), "-aab");
    assert_eq!(whole("(?U)(a*?)(.*)"), "aa-b");
}

#[test]
fn faults_are_named_as_go_names_them() {
    refused("a(b", 1, "missing closing ): `a(b`");
    refused("a)b", 1, "unexpected ): `a)b`");
    refused("*", 0, "missing argument to repetition operator: `*`");
    refused("a|*?", 2, "missing argument to repetition operator: `*?`");
    refused("({2})", 1, "missing argument to repetition operator: `{2}`");
    refused("a**", 1, "invalid nested repetition operator: `**`");
    refused("ba*??", 2, "invalid nested repetition operator: `*??`");
    refused("a{2}{3}", 1, "invalid nested repetition operator: `{2}{3}`");
    refused("a{1001}", 1, "invalid repeat count: `{1001}`");
    refused("a{2,1}", 1, "invalid repeat count: `{2,1}`");
    refused("a{99999999999}", 1, "invalid repeat count: `{99999999999}`");
    refused("(a{100}){11}", 8, "invalid repeat count: `{11}`");
    refused("\\8", 0, "invalid escape sequence: `\\8`");
    refused("é\\1", 2, "invalid escape sequence: `\\1`");
    refused("\\u0041", 0, "invalid escape sequence: `\\u`");
    refused("\\Z", 0, "invalid escape sequence: `\\Z`");
    refused("\\C", 0, "invalid escape sequence: `\\C`");
    refused("\\xg1", 0, "invalid escape sequence: `\\xg1`");
    refused("\\x{110000}", 0, "invalid escape sequence: `\\x{110000`");
    refused("a\\", 1, "trailing backslash at end of expression: ``");
    refused("b[a", 1, "missing closing ]: `[a`");
    refused("[]", 0, "missing closing ]: `[]`");
    refused("[a--b]", 1, "invalid character class range: `a--`");
    refused("[z-a]", 1, "invalid character class range: `z-a`");
    refused("[[:foo:]]", 1, "invalid character class range: `[:foo:]`");
    refused("[a-\\d]", 3, "invalid escape sequence: `\\d`");
    refused("\\p{Foo}x", 0, "invalid character class range: `\\p{Foo}`");
    refused("\\p{Grek}", 0, "invalid character class range: `\\p{Grek}`");
    refused("\\p{IsGreek}", 0, "invalid character class range: `\\p{IsGreek}`");
    refused("\\p{Alphabetic}", 0, "invalid character class range: `\\p{Alphabetic}`");
    refused("\\p{L", 0, "invalid character class range: `\\p{L`");
    refused("(?P<n", 0, "invalid named capture: `(?P<n`");
    refused("(?P<a-b>x)", 0, "invalid named capture: `(?P<a-b>`");
    refused("(?<=a)", 0, "invalid named capture: `(?<=a)`");
    refused("(?=a)", 0, "invalid or unsupported Perl syntax: `(?=`");
    refused("(?x)a", 0, "invalid or unsupported Perl syntax: `(?x`");
    refused("(?i-)", 0, "invalid or unsupported Perl syntax: `(?i-)`");
    refused("(?P=n)", 0, "invalid or unsupported Perl syntax: `(?P`");
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Pattern::new(&nested(999)).unwrap().is_match("a"));
    let error = Pattern::new(&nested(1000)).unwrap_err();
    assert!(error.reason.starts_with("expression nests too deeply"), "{error}");
    // Groups that capture nothing are no nesting.
    let plain = format!("{}a{}", "(?:".repeat(5000), ")".repeat(5000));
    assert!(Pattern::new(&plain).unwrap().is_match("a"));
    let stars = format!("{}a{}", "(?:".repeat(1000), "b)*".repeat(1000));
    assert!(Pattern::new(&stars).is_err());

    let too_large = |e: &str| Pattern::new(e).unwrap_err().reason.starts_with("expression too large");
    assert!(too_large(&"a".repeat(EXPRESSION_BYTES_MAX + 1)));
    assert!(too_large(&format!("[{}]", "\\pL".repeat(10_000))));
    assert!(too_large(&"\\pL".repeat(10_000)));
    assert!(too_large("(?:\\pL\\PN){1000}"));
    assert!(too_large(&format!("(?i)[{}]", "\\pL".repeat(5_000))));
    assert!(too_large(&format!("(?i){}", "[\\x{0}-\\x{10FFFF}]".repeat(40_000))));
    assert!(too_large(&format!("{}a{}", "(?:b|".repeat(100_000), ")".repeat(100_000))));
}

#[test]
fn groups_are_taken_and_expanded() {
    let pattern = Pattern::new("(?P<n>a)|(?P<n>b)|(c){0}(?<m>d)").unwrap();
    assert_eq!(pattern.captures("d"), Some(vec![Some("d"), None, None, None, Some("d")]));
    assert_eq!(pattern.captures("e"), None);
    assert_eq!(pattern.expand("b", "[$n|${2}|$m|$$|$02|$|${x]").as_deref(), Some("[b|b||$||$|${x]"));
    let removed = Pattern::new("(a)(b){0}").unwrap();
    assert_eq!(removed.captures("a"), Some(vec![Some("a"), Some("a"), None]));
    let lazy = Pattern::new("(a|b)c").unwrap();
    assert_eq!(lazy.expand("bc", "x${1}y").as_deref(), Some("xby"));
}

#[test]
fn searches_stop_dots_at_newlines() {
    let search = Search::new("b.*").unwrap();
    assert_eq!(search.replace_all("abc\nabd", "<$0>"), "a<bc>\na<bd>");
    assert_eq!(Search::new("(?s)b.*").unwrap().replace_all("abc\nabd", "-"), "a-");
    assert_eq!(Search::new("").unwrap().replace_all("aé", "-"), "-a-é-");
    assert_eq!(Search::new("\\B").unwrap().replace_all("éa", "-"), "-éa");
    assert!(!Search::new("^b").unwrap().is_match("a\nb"));
}

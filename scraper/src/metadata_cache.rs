//! What a target's page says of its families, kept for the API.

use exposition::parse::Format;
use exposition::parse::series::unescape_help;
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use model::metadata::{Metadata, MetricType};

/// The most families remembered per target; further ones are not shown.
pub const FAMILIES_MAX: usize = 50_000;

/// How many scrapes a family is kept after it vanished.
const KEPT_SCRAPES: u32 = 10;

#[derive(Debug, Default)]
struct Family {
    metadata: Metadata,
    /// The help as it stands on the page, compared without unescaping.
    help_text: String,
    seen: u32,
}

/// Metadata by family, in the order in which pages had them first. In the steady state a scrape only compares: a line is
/// of the family of the line before, or of the next.
#[derive(Debug, Default)]
pub struct MetadataCache {
    families: IndexMap<String, Family, FixedState>,
    scrape: u32,
    /// The family of the line before.
    at: usize,
}

impl MetadataCache {
    /// Starts a scrape.
    pub fn begin(&mut self) {
        self.scrape = self.scrape.wrapping_add(1);
        self.at = 0;
        if self.scrape.is_multiple_of(KEPT_SCRAPES) {
            let oldest = self.scrape.saturating_sub(KEPT_SCRAPES);
            self.families.retain(|_, family| family.seen > oldest);
        }
    }

    /// `# TYPE`; whether that is news, as below.
    pub fn set_type(&mut self, name: &str, metric_type: MetricType) -> bool {
        let Some(family) = self.family(name) else { return false };
        std::mem::replace(&mut family.metadata.metric_type, metric_type) != metric_type
    }

    /// `# HELP`, still escaped as its format has it.
    pub fn set_help(&mut self, name: &str, text: &str, format: Format) -> bool {
        let Some(family) = self.family(name).filter(|family| family.help_text != text) else { return false };
        text.clone_into(&mut family.help_text);
        family.metadata.help = unescape_help(text, format).into_owned();
        true
    }

    /// `# UNIT`.
    pub fn set_unit(&mut self, name: &str, unit: &str) -> bool {
        let Some(family) = self.family(name).filter(|family| family.metadata.unit != unit) else { return false };
        unit.clone_into(&mut family.metadata.unit);
        true
    }

    fn family(&mut self, name: &str) -> Option<&mut Family> {
        let is_at = |index: &usize| self.families.get_index(*index).is_some_and(|(known, _)| known == name);
        let index = match [self.at, self.at + 1].iter().find(|index| is_at(index)) {
            Some(index) => *index,
            None => self.find(name)?,
        };
        self.at = index;
        let (_, family) = self.families.get_index_mut(index)?;
        family.seen = self.scrape;
        Some(family)
    }

    #[cold]
    fn find(&mut self, name: &str) -> Option<usize> {
        match self.families.get_index_of(name) {
            Some(index) => Some(index),
            None if self.families.len() >= FAMILIES_MAX => None,
            None => Some(self.families.insert_full(name.to_owned(), Family::default()).0),
        }
    }

    /// Every family and what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.families.iter().map(|(name, family)| (name.as_str(), &family.metadata))
    }

    /// What is known of one family.
    pub fn get(&self, name: &str) -> Option<&Metadata> {
        self.families.get(name).map(|family| &family.metadata)
    }
}

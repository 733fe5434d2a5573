use crate::Random;

/// Damaged copies of good inputs, without end: what the seeded test of a parser feeds to the harness that its fuzz
/// target uses. The same number and seeds give the same inputs.
///
/// ```
/// let seeds = vec![b"a good input".to_vec()];
/// base::Mutations::new(1, seeds).take(1_000).for_each(|bytes| { let _ = std::str::from_utf8(&bytes); });
/// ```
#[derive(Debug)]
pub struct Mutations {
    random: Random,
    seeds: Vec<Vec<u8>>,
}

/// Values at which lengths and counts go wrong.
const EDGES: [u8; 8] = [0x00, 0x01, 0x02, 0x04, 0x7f, 0x80, 0xfe, 0xff];

impl Mutations {
    /// Damaged copies of `seeds`, chosen by the generator with this number. Without seeds every input is pure chance.
    pub fn new(number: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { random: Random::numbered(number), seeds }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(u64::try_from(bound).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    fn noise(&mut self, len_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(len_max + 1)];
        self.random.fill(&mut bytes);
        bytes
    }

    fn seed(&mut self) -> Vec<u8> {
        let index = self.below(self.seeds.len());
        match self.seeds.get(index) {
            Some(seed) => seed.clone(),
            None => self.noise(64),
        }
    }

    /// A place to cut at: 0 to the length, both included.
    fn cut(&mut self, bytes: &[u8]) -> usize {
        self.below(bytes.len() + 1)
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let (a, b) = (self.cut(bytes), self.cut(bytes));
        let (start, end) = (a.min(b), a.max(b));
        match self.below(8) {
            0 => bytes.truncate(start),
            1 => drop(bytes.drain(start..end)),
            2 => bytes.extend(self.noise(40)),
            3 => {
                let piece = self.noise(8);
                bytes.splice(start..start, piece);
            }
            4 => {
                // The head of this one, the tail of another.
                let other = self.seed();
                let tail = self.cut(&other);
                bytes.truncate(start);
                bytes.extend(other.get(tail..).unwrap_or_default());
            }
            5 => {
                // A stretch twice: lists within lists.
                let piece = bytes.get(start..end.min(start + 64)).unwrap_or_default().to_vec();
                bytes.splice(start..start, piece);
            }
            6 => {
                let edge = EDGES.get(self.below(EDGES.len())).copied().unwrap_or_default();
                bytes.iter_mut().skip(start).take(1).for_each(|byte| *byte = edge);
            }
            _ => {
                let flip = 1_u8.rotate_left(self.random.u32());
                bytes.iter_mut().skip(start).take(1).for_each(|byte| *byte ^= flip);
            }
        }
    }
}

impl Iterator for Mutations {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.seed();
        for _ in 0..=self.below(4) {
            self.damage(&mut bytes);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_and_seeds_give_the_same_inputs() {
        let inputs = |number| Mutations::new(number, vec![vec![1; 30], vec![2; 9]]).take(500).collect::<Vec<_>>();
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
    }

    #[test]
    fn inputs_are_cut_grown_and_changed() {
        let seed = vec![7; 30];
        let inputs: Vec<_> = Mutations::new(1, vec![seed.clone()]).take(200).collect();
        assert!(inputs.iter().any(|bytes| bytes.len() < 30) && inputs.iter().any(|bytes| bytes.len() > 30));
        assert!(inputs.iter().any(|bytes| bytes.len() == 30 && *bytes != seed));
    }

    #[test]
    fn without_seeds_and_with_empty_ones_it_goes_on() {
        assert_eq!(Mutations::new(1, vec![]).take(100).count(), 100);
        assert_eq!(Mutations::new(1, vec![vec![]]).take(100).count(), 100);
    }
}

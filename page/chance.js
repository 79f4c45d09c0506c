// Whether two proportions differ by more than chance: Fisher's exact test, in whole numbers.
// R. A. Fisher, "Statistical Methods for Research Workers" (1934), section 21.02; two-sided: all tables that are no more
// probable than the one that was seen.

const MOST = 4_000; // tables; beyond that the whole numbers get too long for a page

/**
 * Return the probability, in millionths, that a difference at least as improbable comes about where both are alike;
 * null where there is nothing to compare. `hits` of `tries` each.
 */
export function millionths(hits1, tries1, hits2, tries2) {
	const hits = hits1 + hits2, tries = tries1 + tries2;
	if (!tries1 || !tries2 || hits1 > tries1 || hits2 > tries2) return null;
	if (hits === 0 || hits === tries) return 1_000_000;
	// Of whichever is rarer, hits or misses: the same tables, fewer terms.
	if (hits > tries / 2) return millionths(tries1 - hits1, tries1, tries2 - hits2, tries2);
	const least = Math.max(0, hits - tries2), most = Math.min(hits, tries1);
	if (most - least > MOST) return null;
	// The weight of each table is that of the one before by a ratio; the first one makes all of them whole.
	const first = products(least, most, (k) => BigInt(k + 1) * BigInt(tries2 - hits + k + 1));
	const next = (weight, k) => (weight * BigInt(tries1 - k) * BigInt(hits - k)) / (BigInt(k + 1) * BigInt(tries2 - hits + k + 1));
	let seen = first;
	for (let k = least; k < hits1; k += 1) seen = next(seen, k);
	let all = 0n, extreme = 0n;
	for (let k = least, weight = first; k <= most; k += 1) {
		all += weight;
		if (weight <= seen) extreme += weight;
		if (k < most) weight = next(weight, k);
	}
	return Number((2n * 1_000_000n * extreme + all) / (2n * all));
}

function products(from, to, of) {
	let product = 1n;
	for (let k = from; k < to; k += 1) product *= of(k);
	return product;
}

/** Say what differs, and whether by chance. Each side is {name, hits, tries}. */
export function inWords(one, other, percent) {
	const p = millionths(one.hits, one.tries, other.hits, other.tries);
	if (p === null) return null;
	const [better, worse] = one.hits * other.tries >= other.hits * one.tries ? [one, other] : [other, one];
	if (better.hits * worse.tries === worse.hits * better.tries) return `${one.name} and ${other.name} are answered equally often.`;
	const rates = `${better.name} is answered more often than ${worse.name}: ${percent(better.hits / better.tries)} against ${percent(worse.hits / worse.tries)}.`;
	const odds = p >= 1_000_000 ? "always" : p >= 10_000 ? `in ${Math.round(p / 10_000)} of 100 cases` : p > 0 ? `in 1 of ${Math.round(1_000_000 / p).toLocaleString("en")} cases` : "in less than one of a million cases";
	const verdict = p >= 50_000 ? "the difference may be chance" : p >= 10_000 ? "the difference is probably no chance" : "the difference is hardly chance";
	return `${rates} If both were equally good, so much of a difference would still come about ${odds}: ${verdict}.`;
}

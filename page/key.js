// The API key of this tab: from a link or typed in, kept until the tab is closed, never part of an address.

const NAME = "api-key";
const KEY = /^[A-Za-z0-9_]{1,64}\.[!-~]+$/;

/** Take a key out of the address' fragment, if there is one. */
export function takeFromAddress() {
	const given = new URLSearchParams(location.hash.slice(1)).get("key");
	if (given === null) return;
	history.replaceState(null, "", location.pathname + location.search);
	if (KEY.test(given)) keep(given);
}

export function current() {
	return sessionStorage.getItem(NAME);
}

export function keep(key) {
	sessionStorage.setItem(NAME, key);
}

export function forget() {
	sessionStorage.removeItem(NAME);
}

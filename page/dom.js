// Makes elements of data, which becomes text only, and brings them up to date without losing the focus.

const SVG = "http://www.w3.org/2000/svg";
const OWN = new Set(["open", "data-changed"]); // attributes that what is shown has by itself
const SHAPES = /^(svg|path|line|rect|circle|text)$/;

/**
 * Return an element: el("p.note", { id: "x" }, "text"). Attributes that are null or false are not set, true is an empty one,
 * `key` tells siblings apart; children are elements, texts and numbers, null is nothing.
 * @param {string} name @param {...any} children @returns {Element}
 */
export function el(name, ...children) {
	const [tag, kind] = name.split("."), attributes = children[0]?.constructor === Object ? children.shift() : {};
	const made = SHAPES.test(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
	if (kind) made.setAttribute("class", kind);
	for (const [key, value] of Object.entries(attributes)) {
		if (value != null && value !== false) made.setAttribute(key === "key" ? "data-key" : key, value === true ? "" : String(value));
	}
	for (const child of children.flat(Infinity)) {
		if (child != null && child !== false) {
			made.append(child instanceof Node ? child : document.createTextNode(String(child)));
		}
	}
	return made;
}

const versions = new WeakMap();
let latest = 0;

/** A number that stands for an object. */
export function versionOf(object) {
	if (!versions.has(object)) versions.set(object, (latest += 1));
	return versions.get(object);
}

/** Return an element whose children are made anew only for another version. */
export function lazy(name, attributes, version, children) {
	const made = /** @type {any} */ (el(name, { ...attributes, "data-version": version }));
	made.fill = () => made.append(...children());
	return made;
}

// Fills an element that is about to be shown, and all in it.
function fill(fresh) {
	for (const each of [fresh, ...fresh.querySelectorAll("[data-version]")]) filled(each);
	return fresh;
}

function filled(fresh) {
	fresh.fill?.();
	fresh.fill = null;
	return fresh;
}

/** Make an element like another one; `marked` is called with elements whose text has changed. */
export function morph(old, fresh, marked) {
	const shown = old.getAttribute("data-value");
	for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
	for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
	const before = old.textContent;
	morphChildren(old, fresh, marked);
	if (marked && old.hasAttribute("data-live") && old.textContent !== before) marked(old);
	if ((old instanceof HTMLSelectElement || old instanceof HTMLInputElement) && fresh.hasAttribute("data-value")) {
		const value = fresh.getAttribute("data-value");
		if (old.value !== value && (document.activeElement !== old || shown !== value)) old.value = value;
	}
	if (old instanceof HTMLInputElement && old.type === "checkbox") old.checked = fresh.hasAttribute("checked");
}

function morphChildren(old, fresh, marked) {
	const keyed = new Map();
	for (const child of old.children) if (child.hasAttribute("data-key")) keyed.set(child.getAttribute("data-key"), child);
	let at = old.firstChild;
	for (const child of [...fresh.childNodes]) {
		const key = child instanceof Element ? child.getAttribute("data-key") : null;
		const found = key !== null ? keyed.get(key) : at && alike(at, child) ? at : null;
		if (!found || !alike(found, child)) {
			old.insertBefore(child instanceof Element ? fill(child) : child, at);
			continue;
		}
		if (found !== at) old.insertBefore(found, at);
		else at = at.nextSibling;
		if (child instanceof Element) {
			const version = child.getAttribute("data-version");
			if (version === null || version !== found.getAttribute("data-version")) morph(found, filled(child), marked);
		}
		else if (found.data !== child.data) found.data = child.data;
	}
	while (at) {
		const next = at.nextSibling;
		at.remove();
		at = next;
	}
}

function alike(one, other) {
	return one.nodeType === other.nodeType && one.nodeName === other.nodeName
		&& (!(one instanceof Element) || one.getAttribute("data-key") === other.getAttribute("data-key"));
}

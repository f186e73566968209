// A small user interface for the engine that coveoHeadless starts.
const root = document.getElementById('search');
const form = root.querySelector('form');
const box = form.querySelector('input');
const status = root.querySelector('.status');
const results = root.querySelector('.results');

function row(headless, engine, result) {
  const item = document.createElement('li');
  const heading = document.createElement('h2');
  const link = document.createElement('a');
  const excerpt = document.createElement('p');
  const origin = document.createElement('p');
  link.textContent = result.title;
  if (/^https?:/i.test(result.clickUri)) {
    link.href = result.clickUri;
  }
  // Reports the opened result to Coveo's analytics.
  const interactive = headless.buildInteractiveResult(engine, {options: {result}});
  link.addEventListener('click', () => interactive.select());
  excerpt.textContent = result.excerpt;
  origin.textContent = [result.raw.source, result.raw.objecttype].filter(Boolean).join(' · ');
  origin.className = 'origin';
  heading.append(link);
  item.append(heading, excerpt, origin);
  return item;
}

function summary({isLoading, hasError, total}) {
  if (isLoading) {
    return 'Searching…';
  }
  if (hasError) {
    return 'The search is not available at the moment.';
  }
  return total === 0 ? 'Nothing was found.' : total === 1 ? 'One document was found.' : `${total} documents were found:`;
}

try {
  const [engine, headless] = await Promise.all([window.coveoEngine, import(root.dataset.library)]);
  const searchBox = headless.buildSearchBox(engine, {options: {numberOfSuggestions: 0}});
  const resultList = headless.buildResultList(engine);
  const querySummary = headless.buildQuerySummary(engine);

  resultList.subscribe(() => {
    results.replaceChildren(...resultList.state.results.map((result) => row(headless, engine, result)));
  });
  querySummary.subscribe(() => {
    status.textContent = summary(querySummary.state);
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    searchBox.updateText(box.value);
    searchBox.submit();
  });
  root.querySelector('.waiting').remove();
  form.hidden = false;
  engine.executeFirstSearch();
} catch (error) {
  status.textContent = "Coveo's library did not start.";
  console.error(error);
}

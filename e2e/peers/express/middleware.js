const {ORGANIZATION_ID, API_KEY, PLATFORM_URL, USER_EMAIL} = process.env;

// As in Coveo's documentation, all visitors are one user, and every request
// fetches a token.
export const getSearchToken = async (req, res, next) => {
  try {
    const response = await fetch(`${PLATFORM_URL}/rest/search/v2/token?organizationId=${ORGANIZATION_ID}`, {
      method: 'POST',
      headers: {
        Accept: 'application/json',
        Authorization: `Bearer ${API_KEY}`,
        'Content-Type': 'application/json',
      },
      body: JSON.stringify({userIds: [{name: USER_EMAIL, provider: 'Email Security Provider'}]}),
    });
    if (!response.ok) {
      throw new Error(`no search token: status ${response.status}: ${await response.text()}`);
    }
    req.token = (await response.json()).token;
    next();
  } catch (error) {
    next(error);
  }
};

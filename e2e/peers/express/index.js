// The middleware example of https://docs.coveo.com/en/56, with a route from
// which the page renews its token.
import express from 'express';
import {getSearchToken} from './middleware.js';

const {ORGANIZATION_ID, PLATFORM_URL, PORT} = process.env;

const app = express();
app.set('view engine', 'ejs');
app.get('/', getSearchToken, (req, res) => {
  res.render('search', {
    assets: 'https://static.cloud.coveo.com/searchui/v2.10126',
    organizationId: ORGANIZATION_ID,
    platform: PLATFORM_URL,
    token: req.token,
  });
});
app.get('/token', getSearchToken, (req, res) => res.type('text').send(req.token));
app.listen(PORT, '127.0.0.1');
